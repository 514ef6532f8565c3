import numpy as np
import pytest

from frazil.core.errors import PickError, SourceError
from frazil.core.records import Picks, TomogramHeader
from frazil.core.settings import SourceSettings
from frazil.io.checks import (
    check_name,
    check_run,
    clean_name,
    isotropic_voxel_size,
    refuse_picks_beyond_unit_voxels,
    refuse_unknown_voxel_size,
    select,
    true_voxel_size,
)


@pytest.mark.parametrize(
    ("given", "cleaned"), [("beta_amylase", "beta-amylase"), ("a b/c", "a-b-c"), ("ribosome", "ribosome"), ("__", "")]
)
def test_clean_name_replaces_what_copick_forbids(given, cleaned):
    assert clean_name(given) == cleaned


def test_check_name_passes_a_good_name_and_proposes_one_for_a_bad_one(refuses):
    assert check_name("virus-like-particle", "class", PickError) == "virus-like-particle"
    with refuses(PickError, "class 'a_b'", "'a-b'"):
        check_name("a_b", "class", PickError)
    with refuses(PickError, "user ''"):
        check_name("", "user", PickError)


@pytest.mark.parametrize("run", ["", ".hidden", "a/b"])
def test_check_run_refuses_what_cannot_be_a_folder(run, refuses):
    assert check_run("TS_5_4", PickError) == "TS_5_4"
    with refuses(PickError, repr(run), "no slashes"):
        check_run(run, PickError)


def picks(label, user, session):
    return Picks("TS_1", label, np.zeros((1, 3)), user=user, session=session)


ALL = [picks("ribosome", "anna", "1"), picks("ribosome", "ben", "2"), picks("apo-ferritin", "ben", "1")]


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({}, [0, 1, 2]),
        ({"users": ("ben",)}, [1, 2]),
        ({"sessions": ("1",)}, [0, 2]),
        ({"labels": ("ribosome",)}, [0, 1]),
        ({"labels": ("ribosome",), "users": ("ben", "anna")}, [0, 1]),
        ({"users": ("ben",), "sessions": ("1",)}, [2]),
    ],
)
def test_an_empty_filter_passes_all_and_filters_join(filters, kept):
    assert select(ALL, SourceSettings(**filters), "project") == [ALL[index] for index in kept]


@pytest.mark.parametrize(
    ("filters", "parts"),
    [
        ({"labels": ("ribosome", "virus")}, ["label virus;", "apo-ferritin, ribosome"]),
        ({"users": ("carl",)}, ["user carl", "anna, ben"]),
        ({"sessions": ("9",)}, ["session 9", "1, 2"]),
        (
            {"users": ("anna",), "sessions": ("2",)},
            ["user anna, session 2 together", "ribosome by anna (session 1)"],
        ),
    ],
)
def test_filters_that_leave_nothing(filters, parts, refuses):
    with refuses(PickError, "project", *parts):
        select(ALL, SourceSettings(**filters), "project")


def test_a_filter_on_what_the_format_does_not_say(refuses):
    with refuses(PickError, "picks.csv", "user ben", "drop the filter"):
        select([picks("ribosome", None, None)], SourceSettings(users=("ben",)), "picks.csv")


def test_no_picks_at_all(refuses):
    with refuses(PickError, "project", "no picks", "<user>_<session>_<object>.json"):
        select([], SourceSettings(), "project")


def header(voxel_size_angstrom):
    return TomogramHeader("TS_1", (10, 20, 30), voxel_size_angstrom, "TS_1.mrc")


def test_rounding_of_the_edges_is_averaged_away():
    assert isotropic_voxel_size((10.0, 10.0, 10.003), "x") == pytest.approx(10.001)


@pytest.mark.parametrize("edges", [(0.0, 0.0, 0.0), (10.0, -1.0, 10.0), (10.0, float("nan"), 10.0)])
def test_sizes_that_cannot_be_are_refused(edges, refuses):
    with refuses(SourceError, "TS_1.mrc", f"{edges[1]:g}", "voxel size"):
        isotropic_voxel_size(edges, "TS_1.mrc")


def test_voxels_that_are_no_cubes_are_refused(refuses):
    with refuses(SourceError, "TS_1.mrc", "10 x 10 x 10.02", "resample"):
        isotropic_voxel_size((10.0, 10.0, 10.02), "TS_1.mrc")


def test_a_true_voxel_size_keeps_the_ratio_between_levels():
    assert true_voxel_size((4.0, 4.0, 4.0), (1.0, 1.0, 1.0), 7.0) == 28.0
    for edges, finest in (((0.0,) * 3, (0.0,) * 3), ((4.0,) * 3, (0.0,) * 3), ((2.0, 2.0, 1.0), (1.0,) * 3)):
        assert np.isnan(true_voxel_size(edges, finest, 7.0))


def test_one_angstrom_is_refused_where_picks_in_voxels_depend_on_it(refuses):
    refuse_unknown_voxel_size(header(10.0))
    with refuses(SourceError, "TS_1.mrc", "1.0 A", "voxel size 10.012"):
        refuse_unknown_voxel_size(header(1.0))


def test_one_angstrom_is_refused_where_picks_in_angstrom_would_lie_outside(refuses):
    inside = Picks("TS_1", "ribosome", np.array([[5.0, 5.0, 5.0]]))
    outside = Picks("TS_1", "ribosome", np.array([[5.0, 5.0, 5.0], [5.0, 5.0, 300.0]]))
    refuse_picks_beyond_unit_voxels(header(1.0), [inside])
    refuse_picks_beyond_unit_voxels(header(10.0), [outside])
    with refuses(SourceError, "TS_1.mrc", "1 of 2 picks of ribosome", "voxel size 10.012"):
        refuse_picks_beyond_unit_voxels(header(1.0), [inside, outside])
