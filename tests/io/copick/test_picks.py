import logging
import subprocess
import sys

import numpy as np
import pytest

from frazil.core.errors import PickError, SourceError
from frazil.core.log import LOG, logged_in
from frazil.io.copick.picks import PickFile, known_rotations, reading, split_name

QUARTER_ABOUT_Z = [[0.0, -1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
IDENTITY = np.eye(4).tolist()


def point(x=1.0, y=2.0, z=3.0, **more):
    return {"location": {"x": x, "y": y, "z": z}, **more}


def parse(content, **names):
    known = {"run": "TS_1", "label": "ribosome", "user": "curation", "session": "0"} | names
    return PickFile(origin="ribosome.json", content=lambda: content, **known).load()


def test_names():
    assert split_name("curation_0_apo-ferritin", "") == ("apo-ferritin", "curation", "0")
    assert split_name("ribosome", "") == ("ribosome", None, None)


@pytest.mark.parametrize("stem", ["a_b", "a_b_c_d", "_0_ribosome", "a__b"])
def test_names_that_are_neither(stem, refuses):
    with refuses(PickError, "Picks/x.json", "<object>.json", "rename it"):
        split_name(stem, "Picks/x.json")


def test_xyz_becomes_zyx_and_the_shift_counts():
    shifted = [[1, 0, 0, 10], [0, 1, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1]]
    picks = parse({"points": [point(), point(transformation_=shifted)]})
    np.testing.assert_allclose(picks.centers_angstrom, [[3, 2, 1], [33, 22, 11]])
    assert picks.rotations is None
    assert (picks.run, picks.label, picks.user, picks.session) == ("TS_1", "ribosome", "curation", "0")


def test_a_rotation_acts_on_zyx_vectors():
    picks = parse({"points": [point(transformation_=QUARTER_ABOUT_Z), point(transformation_=IDENTITY)]})
    x_axis, y_axis = np.array([0, 0, 1]), np.array([0, 1, 0])
    np.testing.assert_allclose(picks.rotations[0] @ x_axis, y_axis)  # a quarter turn about z takes x to y
    np.testing.assert_allclose(picks.rotations[1], np.eye(3))


def test_orientations_that_are_not_known():
    assert parse({"points": [point(transformation_=IDENTITY), point(transformation_=None)]}).rotations is None
    assert parse({"points": [point(transformation_=QUARTER_ABOUT_Z)], "trust_orientation": False}).rotations is None


def test_no_points_is_an_empty_record_and_missing_names_come_from_the_file():
    content = {"points": [], "user_id": "curation", "session_id": "7"}
    picks = parse(content, user=None, session=None)
    assert len(picks) == 0
    assert picks.centers_angstrom.shape == (0, 3)
    assert (picks.user, picks.session) == ("curation", "7")
    assert len(parse({"points": None})) == 0


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({}, ["no points"]),
        ([1, 2], ["no points"]),
        ({"points": {"x": 1}}, ["points"]),
        ({"points": [point()], "unit": "pixel"}, ["'pixel'", "angstrom"]),
        ({"points": [point(), {"location": {"x": 1.0, "y": 2.0}}]}, ["point 1", "no location"]),
        ({"points": [{}]}, ["point 0", "no location"]),
        ({"points": [3]}, ["point 0", "no location"]),
        ({"points": [point(z=float("nan"))]}, ["point 0", "nan", "not finite"]),
        ({"points": [point(x=float("inf"))]}, ["point 0", "inf", "not finite"]),
        ({"points": [point(y="two")]}, ["point 0", "'two'", "not finite"]),
        ({"points": [point(transformation_=[[1, 0], [0, 1]])]}, ["point 0", "4 x 4"]),
        ({"points": [point(transformation_="none")]}, ["point 0", "4 x 4"]),
        ({"points": [point(transformation_=np.diag([2.0, 2, 2, 1]).tolist())]}, ["point 0", "rotation", "8"]),
        ({"points": [point(transformation_=np.diag([1.0, 1, -1, 1]).tolist())]}, ["rotation", "trust_orientation"]),
    ],
)
def test_files_that_cannot_be_used(content, parts, refuses):
    with refuses(PickError, "ribosome.json", *parts):
        parse(content)


def test_no_rotations_at_all_are_unknown():
    assert known_rotations(np.zeros((0, 3, 3)), "x") is None


def test_the_root_logger_is_left_as_it_was():
    code = (
        "import logging; before = (logging.getLogger().level, len(logging.getLogger().handlers)); "
        "import frazil.io.copick.picks; import copick.impl.cryoet_data_portal, copick.util.portal_cache; "
        "assert (logging.getLogger().level, len(logging.getLogger().handlers)) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_what_a_connection_says_while_it_is_tried_is_for_the_log(tmp_path, capsys):
    with logged_in(tmp_path), reading("s3://bucket"):
        logging.getLogger("urllib3.connectionpool").warning("retrying")
    assert capsys.readouterr().err == ""
    assert "urllib3.connectionpool: retrying" in (tmp_path / LOG).read_text()


def test_what_cannot_be_reached_is_one_line(refuses):
    class EndpointConnectionError(Exception):
        """Stands for the errors of packages that are not installed with frazil."""

    EndpointConnectionError.__module__ = "botocore.exceptions"
    said = "s3://bucket: not reached (EndpointConnectionError: no route)"
    with refuses(SourceError, said, "connection"), reading("s3://bucket"):
        raise EndpointConnectionError("no route")
    with pytest.raises(ZeroDivisionError), reading("s3://bucket"):  # a fault of ours is not hidden
        raise ZeroDivisionError
