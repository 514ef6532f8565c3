import pytest

from frazil.core.errors import PickError
from frazil.io.csv_table import read_rows


def rows(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "table.csv"
    path.write_text(text, encoding=encoding)
    return read_rows(path, ("name", "x"), PickError)


def test_columns_are_found_by_name_in_any_order_and_excel_bytes_do_not_matter(tmp_path):
    (row,) = rows(tmp_path, "x, more ,name\n 1.5 ,?, a \n\n", encoding="utf-8-sig")
    assert (row.text("name"), row.number("x"), row.line) == ("a", 1.5, 2)


def test_a_whole_number(tmp_path, refuses):
    good, bad = rows(tmp_path, "name,x\na,3\na,3.5\n")
    assert good.whole("x") == 3
    with refuses(PickError, "table.csv, line 3, column x", "'3.5'", "whole number"):
        bad.whole("x")


@pytest.mark.parametrize("value", ["twelve", "nan", "inf", ""])
def test_text_where_a_number_must_be(tmp_path, value, refuses):
    (row,) = rows(tmp_path, f"name,x\n\na,{value}\n")
    with refuses(PickError, "table.csv, line 3, column x", repr(value), "finite number"):
        row.number("x")


def test_an_empty_cell_where_text_must_be(tmp_path, refuses):
    (row,) = rows(tmp_path, "name,x\n,1\n")
    with refuses(PickError, "line 2, column name", "''", "fill it in"):
        row.text("name")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["table.csv", "empty", "name, x"]),
        ("name,x\n", ["table.csv", "no rows"]),
        ("name,y\na,1\n", ["no column x", "name, y"]),
        ("name;x\na;1\n", ["no column name, x", "name;x", "comma-separated"]),
        ("name,x\na\n", ["line 2", "1 cells for 2 columns"]),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, parts, refuses):
    with refuses(PickError, *parts):
        rows(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path, refuses):
    with refuses(PickError, "absent.csv", "no such file"):
        read_rows(tmp_path / "absent.csv", ("x",), PickError)
    with refuses(PickError, str(tmp_path), "cannot be read"):
        read_rows(tmp_path, ("x",), PickError)
    (tmp_path / "image.csv").write_bytes(b"\xff\xfe\x00\x80")
    with refuses(PickError, "image.csv", "no CSV text"):
        read_rows(tmp_path / "image.csv", ("x",), PickError)
