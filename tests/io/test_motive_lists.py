import struct

import dynamotable
import emfile
import numpy as np
import pandas as pd
import pytest

from frazil.core.errors import MissingTomogramError, PickError, SourceError
from frazil.core.records import TomogramHeader
from frazil.core.settings import SourceSettings
from frazil.io.motive_lists import read_motive_list
from frazil.io.mrc import write_volume
from frazil.io.sources import open_source

HEADER = TomogramHeader("TS_1", (30, 40, 50), 10.0, "TS_1.mrc")


def dynamo(path, **columns):
    """A table with particles of one tomogram at (30, 20, 10) xyz, unless the columns say otherwise."""
    given = {"tomo": [1], "x": [30.0], "y": [20.0], "z": [10.0]} | columns
    count = max(map(len, given.values()))
    dynamotable.write(pd.DataFrame({name: np.resize(values, count) for name, values in given.items()}), str(path))
    return path


def motive_list(path, count=1, **columns):
    """A motive list at the same place, by the numbers that TOM's manual gives its columns."""
    numbers = {"score": 1, "tomo": 5, "x": 8, "y": 9, "z": 10, "dx": 11, "dy": 12, "dz": 13}
    numbers |= {"phi": 17, "psi": 18, "theta": 19, "type": 20}
    content = np.zeros((1, count, 20), dtype=np.float32)
    for name, values in ({"tomo": 1, "x": 31, "y": 21, "z": 11} | columns).items():
        content[0, :, numbers[name] - 1] = values
    emfile.write(str(path), content)
    return path


@pytest.mark.parametrize("write", [dynamo, motive_list])
def test_particles_lie_at_position_and_shift(tmp_path, write):
    path = write(tmp_path / f"ribosome.{'tbl' if write is dynamo else 'em'}", dx=[0.5], dy=[-1.0], dz=[2.0])
    (picks,) = read_motive_list(path)
    assert (picks.tomogram, picks.label, picks.rotations) == ("1", "ribosome", None)
    np.testing.assert_allclose(picks.placed(HEADER).centers_angstrom, [[120, 190, 305]])
    (picks,) = read_motive_list(path, "angstrom")
    np.testing.assert_allclose(picks.placed(None).centers_angstrom, [[12, 19, 30.5]])


def test_angles_of_a_motive_list_turn_the_reference_into_the_particle(tmp_path):
    # phi about z takes x to y, theta about x takes y to z, psi about z leaves z
    (picks,) = read_motive_list(motive_list(tmp_path / "a.em", phi=90, theta=90, psi=90))
    np.testing.assert_allclose(picks.rotations @ [0, 0, 1], [[1, 0, 0]], atol=1e-7)  # zyx
    # z stays for phi, theta takes it to -y, psi takes that to x
    np.testing.assert_allclose(picks.rotations @ [1, 0, 0], [[0, 0, 1]], atol=1e-7)


def test_angles_of_dynamo_are_those_of_a_motive_list_backwards(tmp_path):
    # as cryoCAT converts them: phi = -narot, theta = -tilt, psi = -tdrot
    (ours,) = read_motive_list(dynamo(tmp_path / "a.tbl", tdrot=[20.0], tilt=[50.0], narot=[-70.0]))
    (theirs,) = read_motive_list(motive_list(tmp_path / "a.em", phi=70, theta=-50, psi=-20))
    np.testing.assert_allclose(ours.rotations, theirs.rotations, atol=1e-6)


@pytest.mark.parametrize("count", [1, 19, 20, 21])
def test_any_number_of_particles(tmp_path, count):
    x = np.arange(count) + 1.0
    (picks,) = read_motive_list(motive_list(tmp_path / "a.em", count, x=x, score=x / 8))
    np.testing.assert_allclose(picks.places[:, 2], np.arange(count))
    np.testing.assert_allclose(picks.scores, x / 8)


def test_classes_and_scores(tmp_path):
    columns = {"x": [1.0, 2.0, 3.0], "class": [1, 2, 1], "cc": [0.25, 0.5, 0.75]}
    one, two = read_motive_list(dynamo(tmp_path / "ribosome.tbl", **columns))
    assert (one.label, two.label) == ("ribosome-class1", "ribosome-class2")
    assert (one.scores.tolist(), two.scores.tolist()) == ([0.25, 0.75], [0.5])
    one, two = read_motive_list(motive_list(tmp_path / "b.em", 3, x=[1, 2, 3], type=[0, 3, 3]))
    assert (one.label, two.label, len(two.places)) == ("b-class0", "b-class3", 2)


@pytest.mark.parametrize("map_name", ["ribosome.doc", "indices_column20.doc"])
def test_the_map_of_a_table_names_its_tomograms(tmp_path, map_name):
    for run in ("TS_1", "TS 2"):
        write_volume(tmp_path / f"{run}.mrc", np.zeros((30, 40, 50), np.float32), 10.0)
    dynamo(tmp_path / "ribosome.tbl", tomo=[7, 8])
    (tmp_path / map_name).write_text("7 /data/old/TS_1.rec\n\n8 /data/old/TS 2.mrc\n")
    source = open_source(tmp_path, SourceSettings())
    assert source.kind == "MRC + TBL"
    assert [(picks.run, picks.label) for picks in source.picks()] == [("TS 2", "ribosome"), ("TS_1", "ribosome")]
    np.testing.assert_allclose(source.picks()[0].centers_angstrom, [[100, 200, 300]])


@pytest.mark.parametrize(("write", "suffix"), [(dynamo, "tbl"), (motive_list, "em")])
def test_without_a_map_the_number_is_matched(tmp_path, write, suffix, refuses):
    write_volume(tmp_path / "TS_1.mrc", np.zeros((30, 40, 50), np.float32), 10.0)
    write_volume(tmp_path / "average.mrc", np.zeros((4, 4, 4), np.float32), 10.0)
    emfile.write(str(tmp_path / "average.em"), np.zeros((8, 8, 20), np.float32))  # a volume is no list
    write(tmp_path / f"ribosome.{suffix}")
    with refuses(MissingTomogramError, "no tomogram of 1", "TS_1=1"):
        open_source(tmp_path, SourceSettings(match=("average=2",))).header("1")
    (picks,) = open_source(tmp_path, SourceSettings(match=("TS_*=*",))).picks()
    assert picks.run == "1"
    np.testing.assert_allclose(picks.centers_angstrom, [[100, 200, 300]])


def test_lists_beside_other_tables_are_to_choose_from(make_project, refuses):
    project = make_project("csv")
    dynamo(project.path / "ribosome.tbl")
    with refuses(SourceError, "several tables of picks: picks.csv, ribosome.tbl"):
        open_source(project.path, SourceSettings())
    open_source(project.path, SourceSettings(picks_file=str(project.path / "picks.csv")))


def _text(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("name", "write", "parts"),
    [
        ("a.tbl", lambda path: _text(path, "1 2 3\n"), ("not a table of Dynamo", "3 columns, so tdrot is missing")),
        ("a.tbl", lambda path: _text(path, ""), ("not a table of Dynamo",)),
        ("a.tbl", lambda path: dynamo(path, x=["here"]), ("not a table of Dynamo", "here")),
        ("a.tbl", lambda path: dynamo(path, x=[1.0, np.inf]), ("particle 2", "position", "finite")),
        ("a.em", lambda path: _text(path, "1 2 3\n"), ("not a motive list",)),
        ("a.em", lambda path: motive_list(path, z=np.nan), ("particle 1", "position", "finite")),
        ("a.em", lambda path: emfile.write(str(path), np.zeros((4, 5, 6), np.float32)), ("6 x 5 x 4 values instead of 20",)),
        ("a.em", lambda path: path.write_bytes(struct.pack("<4b3i", 6, 0, 0, 99, 20, 1, 1) + bytes(496)), ("not a motive list",)),
        ("?.em", motive_list, ("particle 1", "'?' is not a class name")),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(tmp_path, name, write, parts, refuses):
    path = tmp_path / name
    write(path)
    with refuses(PickError, name, *parts):
        read_motive_list(path)


def test_a_map_that_is_none(tmp_path, refuses):
    dynamo(tmp_path / "a.tbl")
    (tmp_path / "a.doc").write_text("TS_1 7\n")
    with refuses(PickError, "a.doc", "a number and a tomogram a line"):
        read_motive_list(tmp_path / "a.tbl")
