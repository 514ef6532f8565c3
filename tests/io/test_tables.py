import numpy as np
import pytest

from frazil.core.errors import PickError
from frazil.core.records import TomogramHeader
from frazil.io.tables import read_csv, read_picks


def table(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "table.csv"
    path.write_text(text, encoding=encoding)
    return read_csv(path, ("name", "x"), PickError)


def test_columns_are_found_by_name_in_any_order_and_excel_bytes_do_not_matter(tmp_path):
    read = table(tmp_path, "\n x, more ,name\n\n 1.5 ,?, a \n2,,NA,beyond\n,,\n", encoding="utf-8-sig")
    assert read.text("name").to_dict() == {4: "a", 5: "NA"}
    assert read.numbers("x").to_dict() == {4: 1.5, 5: 2.0}


def test_numbers_are_read_to_the_last_digit(tmp_path):
    values = np.random.default_rng(0).random(200).tolist()
    assert table(tmp_path, "name,x\n" + "".join(f"a,{value!r}\n" for value in values)).numbers("x").tolist() == values


def test_whole_numbers(tmp_path, refuses):
    assert table(tmp_path, "name,x\na,3\n").whole("x").tolist() == [3]
    with refuses(PickError, "table.csv, line 3, column x", "'3.5'"):
        table(tmp_path, "name,x\na,3\na,3.5\n").whole("x")


@pytest.mark.parametrize("value", ["twelve", "nan", "inf", ""])
def test_text_where_a_number_must_be(tmp_path, value, refuses):
    read = table(tmp_path, f"name,x\n\na,{value}\n")
    with refuses(PickError, "table.csv, line 3, column x", repr(value)):
        read.numbers("x")
    if not value:
        assert np.isnan(read.numbers("x", empty_allowed=True)).all()


def test_an_empty_cell_where_text_must_be(tmp_path, refuses):
    with refuses(PickError, "line 2, column name", "''"):
        table(tmp_path, "name,x\n,1\n").text("name")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["table.csv", "empty", "name, x"]),
        ("name,x\n", ["table.csv", "no rows"]),
        ("name,y\na,1\n", ["no column x", "name, y"]),
        ("name;x\na;1\n", ["no column name, x", "name;x", "comma-separated"]),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, parts, refuses):
    with refuses(PickError, *parts):
        table(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path, refuses):
    with refuses(PickError, "absent.csv", "no such file"):
        read_csv(tmp_path / "absent.csv", ("x",), PickError)
    with refuses(PickError, str(tmp_path), "cannot be read"):
        read_csv(tmp_path, ("x",), PickError)
    (tmp_path / "image.csv").write_bytes(b"\xff\xfe\x00\x80")
    with refuses(PickError, "image.csv", "not a CSV"):
        read_csv(tmp_path / "image.csv", ("x",), PickError)


def picks(tmp_path, text):
    (tmp_path / "picks.csv").write_text(text)
    return read_picks(tmp_path / "picks.csv")


def test_voxels_become_angstrom_and_xyz_becomes_zyx(tmp_path):
    first, second = picks(
        tmp_path,
        "experiment,particle_type,x,y,z\nTS_1.mrc,beta_amylase,1,2,3\nTS_1,beta-amylase,4,5,6\nTS_2,ribosome,7,8,9\n",
    )
    assert (first.tomogram, first.label, second.tomogram, second.label) == ("TS_1", "beta-amylase", "TS_2", "ribosome")
    header = TomogramHeader("TS_1", (20, 20, 20), 10.0, "TS_1.mrc")
    np.testing.assert_allclose(first.placed(header).centers_angstrom, [[30, 20, 10], [60, 50, 40]])
    assert np.isnan(second.placed(None).centers_angstrom).all()


def test_copick_tables_are_in_angstrom_and_may_have_transformations(tmp_path):
    def table(name, **options):
        path = tmp_path / name
        matrix = np.eye(4)
        matrix[:3] = [[0, -1, 0, 5], [1, 0, 0, 0], [0, 0, 1, -7]]
        columns = [f"transform_{row}{column}" for row in range(4) for column in range(4)]
        lines = [["run_name", "x", "y", "z", *columns], ["TS_1", 10, 20, 30, *matrix.ravel()]]
        path.write_text("\n".join(",".join(map(str, line)) for line in lines) + "\n")
        return read_picks(path, **options)

    (picks,) = table("frazil_0_beta-amylase.csv")
    assert (picks.tomogram, picks.label) == ("TS_1", "beta-amylase")
    np.testing.assert_allclose(picks.placed(None).centers_angstrom, [[23, 20, 15]])
    # a quarter turn about z takes x to y: in zyx, (0, 0, 1) to (0, 1, 0)
    np.testing.assert_allclose(picks.rotations @ [0, 0, 1], [[0, 1, 0]])
    (picks,) = table("ribosome.csv", units="voxel")
    header = TomogramHeader("TS_1", (20, 20, 20), 10.0, "TS_1.mrc")
    np.testing.assert_allclose(picks.placed(header).centers_angstrom, [[293, 200, 105]])
    assert picks.label == "ribosome"


def test_units_of_the_papers_table(tmp_path):
    (tmp_path / "picks.csv").write_text("experiment,particle_type,x,y,z\nTS_1.rec,ribosome,10,20,30\n")
    (picks,) = read_picks(tmp_path / "picks.csv", "angstrom")
    assert picks.tomogram == "TS_1"
    np.testing.assert_allclose(picks.placed(None).centers_angstrom, [[30, 20, 10]])


def test_a_wrong_file_does_not_flood_the_screen(tmp_path):
    (tmp_path / "picks.csv").write_text("x" * 5000 + "\n1\n")
    with pytest.raises(PickError, match=r"no column experiment") as caught:
        read_picks(tmp_path / "picks.csv")
    assert len(str(caught.value)) < 500


def test_picks_that_cannot_be_used(tmp_path, refuses):
    with refuses(PickError, "picks.csv, line 2, column y", "'two'"):
        picks(tmp_path, "experiment,particle_type,x,y,z\nTS_1,ribosome,1,two,3\n")
    with refuses(PickError, "line 2, column particle_type", "'__'", "class name"):
        picks(tmp_path, "experiment,particle_type,x,y,z\nTS_1,__,1,2,3\n")


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_cells_beyond_the_last_column_are_ignored_in_any_number_of_rows(tmp_path, rows):
    (tmp_path / "picks.csv").write_text("a,b\n" + "1,2,3,4\n" * rows)
    table = read_csv(tmp_path / "picks.csv", ("a", "b"), PickError)
    assert list(table.text("a")) == ["1"] * rows
    assert list(table.text("b")) == ["2"] * rows
