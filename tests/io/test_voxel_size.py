import numpy as np
import pytest

from frazil.core.errors import SourceError
from frazil.core.records import Picks, TomogramHeader
from frazil.io.voxel_size import (
    isotropic_voxel_size,
    refuse_picks_beyond_unit_voxels,
    refuse_unknown_voxel_size,
    true_voxel_size,
)


def header(voxel_size_angstrom):
    return TomogramHeader("TS_1", (10, 20, 30), voxel_size_angstrom, "TS_1.mrc")


def test_rounding_of_the_edges_is_averaged_away():
    assert isotropic_voxel_size((10.0, 10.0, 10.003), "x") == pytest.approx(10.001)


@pytest.mark.parametrize("edges", [(0.0, 0.0, 0.0), (10.0, -1.0, 10.0), (10.0, float("nan"), 10.0)])
def test_sizes_that_cannot_be_are_refused(edges, refuses):
    with refuses(SourceError, "TS_1.mrc", f"{edges[1]:g}", "--voxel-size"):
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
    with refuses(SourceError, "TS_1.mrc", "1.0 A", "--voxel-size 10.012"):
        refuse_unknown_voxel_size(header(1.0))


def test_one_angstrom_is_refused_where_picks_in_angstrom_would_lie_outside(refuses):
    inside = Picks("TS_1", "ribosome", np.array([[5.0, 5.0, 5.0]]))
    outside = Picks("TS_1", "ribosome", np.array([[5.0, 5.0, 5.0], [5.0, 5.0, 300.0]]))
    refuse_picks_beyond_unit_voxels(header(1.0), [inside])
    refuse_picks_beyond_unit_voxels(header(10.0), [outside])
    with refuses(SourceError, "TS_1.mrc", "1 of 2 picks of ribosome", "--voxel-size 10.012"):
        refuse_picks_beyond_unit_voxels(header(1.0), [inside, outside])
