import numpy as np
import pytest

from frazil.core.records import Layout
from frazil.volume.arrangement import layout_statistics


def _layout(labels: list[int], centers: list[tuple[float, float, float]]) -> Layout:
    return Layout(np.array(labels), np.array(centers, dtype=float), np.full((len(labels), 3, 3), np.nan))


def test_layout_statistics_of_two_tomograms() -> None:
    one = _layout([0, 0, 1], [(0, 5, 5), (3, 9, 5), (10, 5, 5)])
    other = _layout([0], [(5, 5, 5)])
    # a tomogram of 11 x 20 x 25 voxels of 10 A is 5500e3 A^3
    found = layout_statistics([one, other], [(11, 20, 25)] * 2, 10.0, ["big", "small"])
    per_um3 = 1e12 / 5500e3
    assert found.shape_voxel == (11, 20, 25)
    assert found.number_per_um3["big"] == pytest.approx((1.5 * per_um3, 0.5 * per_um3))
    assert found.number_per_um3["small"] == pytest.approx((0.5 * per_um3, 0.5 * per_um3))
    assert (found.heights[0], found.heights[-1]) == (0, 1)
    assert found.distance_angstrom[0][0] == pytest.approx(50)
    assert found.distance_angstrom[1] == pytest.approx((np.sqrt(49 + 16) * 10, None))
