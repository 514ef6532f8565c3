"""Real and generated boxes meet on a grid that both can hold, and the particle stays at its center."""

from pathlib import Path

import numpy as np
import pytest

from frazil.core.errors import RequestError
from frazil.dataset.store import BoxStore
from frazil.evaluation.inputs.grid import Grid, common_grid, on_grid


@pytest.fixture
def real(make_box_store):
    return BoxStore.open(make_box_store(box=16))


@pytest.mark.parametrize("there", [Grid(20.025, 16), Grid(10.0125, 24)])
def test_another_grid_is_refused_unless_resampling_is_asked_for(real, there, refuses):
    parts = (
        str(real.path),
        f"{there.box_size_voxel} voxels of {there.voxel_size_angstrom:g} A",
        "16 voxels of 10.0125 A",
    )
    with refuses(RequestError, *parts, "--resample"):
        common_grid(real.path, Grid.of_store(real), Path("x"), there, resample=False)
    assert common_grid(real.path, Grid.of_store(real), Path("x"), there, resample=True) == Grid(10.0125, 16)


def test_the_remedy_names_a_wrong_header_only_where_voxel_sizes_differ(real, refuses):
    with refuses(RequestError, "true voxel size"):
        common_grid(real.path, Grid.of_store(real), Path("x"), Grid(1.0, 16), resample=False)
    with pytest.raises(RequestError) as caught:
        common_grid(real.path, Grid.of_store(real), Path("x"), Grid(10.0125, 24), resample=False)
    assert "true voxel size" not in str(caught.value)


def test_smaller_generated_boxes_crop_the_real_ones_to_a_multiple_of_8(real, refuses):
    assert common_grid(real.path, Grid.of_store(real), Path("x"), Grid(5.00625, 28), resample=True) == Grid(10.0125, 8)
    with refuses(RequestError, "fewer than 8 voxels", "larger boxes"):
        common_grid(real.path, Grid.of_store(real), Path("x"), Grid(5.00625, 14), resample=True)


def _ball(edge, radius_voxel, offset=0.0):
    """A dark smooth ball about voxel D/2."""
    axis = np.arange(edge) - edge // 2 - offset
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    return -np.exp(-squared / (2 * radius_voxel**2)).astype(np.float32)


@pytest.mark.parametrize(
    ("old", "new"), [(Grid(10, 32), Grid(10, 16)), (Grid(5, 32), Grid(10, 16)), (Grid(20, 16), Grid(10, 24))]
)
def test_a_ball_stays_the_same_ball_at_the_centre(old, new):
    volume, measured = on_grid((_ball(old.box_size_voxel, 40 / old.voxel_size_angstrom), None), old, new)
    assert volume.shape == (new.box_size_voxel,) * 3
    np.testing.assert_allclose(volume, _ball(new.box_size_voxel, 40 / new.voxel_size_angstrom), atol=0.01)
    assert measured is None


def test_what_was_not_measured_stays_unmeasured():
    measured = np.ones((16, 16, 16), dtype=bool)
    measured[:6] = False
    _, cropped = on_grid((_ball(16, 3), measured), Grid(10, 16), Grid(10, 8))
    assert cropped[:, 0, 0].tolist() == [False, False, True, True, True, True, True, True]
    _, finer = on_grid((_ball(16, 3), measured), Grid(10, 16), Grid(5, 16))
    assert not finer[:3].any()  # voxel 4 lies on the first measured one, voxel 3 half-way before it
    assert finer[4:].all()
