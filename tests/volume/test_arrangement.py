import numpy as np
import pytest
from scipy.spatial.distance import cdist

from frazil.core.errors import PickError
from frazil.core.records import Layout
from frazil.core.seeds import numpy_generator
from frazil.volume.arrangement import LayoutStatistics, draw_layout, layout_statistics


def _layout(labels: list[int], centers: list[tuple[float, float, float]]) -> Layout:
    return Layout(np.array(labels), np.array(centers, dtype=float), np.full((len(labels), 3, 3), np.nan))


def test_layout_statistics_of_two_tomograms() -> None:
    one = _layout([0, 0, 1], [(0, 5, 5), (3, 9, 5), (10, 5, 5)])
    other = _layout([0], [(5, 5, 5)])
    # a tomogram of 11 x 20 x 25 voxels of 10 A is 5500e3 A^3
    found = layout_statistics([one, other], [(11, 20, 25)] * 2, 10.0, {"big": 20.0, "small": 10.0})
    per_um3 = 1e12 / 5500e3
    assert found.shape_voxel == (11, 20, 25)
    assert found.number_per_um3["big"] == pytest.approx((1.5 * per_um3, 0.5 * per_um3))
    assert found.number_per_um3["small"] == pytest.approx((0.5 * per_um3, 0.5 * per_um3))
    assert (found.heights[0], found.heights[-1]) == (0, 1)
    assert found.distance_angstrom[0][0] == pytest.approx(50)
    assert found.distance_angstrom[1] == pytest.approx((np.sqrt(49 + 16) * 10, None))


STATISTICS = LayoutStatistics(
    shape_voxel=(50, 100, 100),
    voxel_size_angstrom=10.0,
    number_per_um3={"small": (40_000, 0), "big": (20_000, 5_000)},
    heights=tuple(np.linspace(0.25, 0.75, 41).tolist()),
    distance_angstrom=((None, 150.0), (190.0, 1000.0)),
)
RADII = {"small": 50.0, "big": 120.0}


def test_drawn_layouts_have_the_statistics() -> None:
    shape = (50, 100, 100)
    layouts = [draw_layout(STATISTICS, shape, RADII, numpy_generator(0, "test", index)) for index in range(20)]
    found = layout_statistics(layouts, [shape] * 20, 10.0, RADII)
    assert found.number_per_um3["small"] == pytest.approx((40_000, 0))
    assert found.number_per_um3["big"] == pytest.approx((20_000, 5_000), rel=0.3)
    assert np.abs(np.subtract(found.heights, STATISTICS.heights)).max() < 0.05
    (small, mixed), (_, big) = found.distance_angstrom
    assert 100 <= small < 110  # the sum of the radii, where no tomogram tells
    assert 150 <= mixed < 165  # what was seen
    assert 240 <= big < 400  # rare particles are not kept further apart than they need


def test_rotations_are_drawn() -> None:
    rotation = draw_layout(STATISTICS, (50, 200, 200), RADII, numpy_generator(0, "test")).rotation
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3))
    assert np.allclose(np.linalg.det(rotation), 1)
    assert np.abs(rotation.mean(axis=0)).max() < 0.3


def test_too_little_room_is_refused(refuses) -> None:
    full = STATISTICS.model_copy(update={"number_per_um3": {"small": (2_000_000, 0), "big": (0, 0)}})
    with refuses(PickError, "small", "room for", "20,20,20"):
        draw_layout(full, (20, 20, 20), RADII, numpy_generator(0, "test"))


def _companions(layouts: list[Layout], label: int, nearest_voxel: float, farthest_voxel: float) -> float:
    """Return how many others of its class a particle has between two distances, on average."""
    counts = []
    for some in layouts:
        apart = cdist(*[some.center_voxel[some.label == label]] * 2)
        counts += ((apart > nearest_voxel) & (apart < farthest_voxel)).sum(axis=1).tolist()
    return float(np.mean(counts))


def test_clusters_are_drawn_again_and_only_where_there_are_some() -> None:
    shape, radii = (40, 200, 200), {"clustered": 30.0, "lone": 30.0}
    tomograms = []
    for index in range(4):  # clusters of six (Thomas 1949), and single particles
        random = numpy_generator(index, "test")
        parents = random.uniform(20, (21, 180, 180), size=(10, 3))
        clustered = (parents[:, None] + random.normal(scale=8, size=(10, 6, 3))).reshape(-1, 3)
        lone = random.uniform(0, np.subtract(shape, 1), size=(60, 3))
        centers = np.concatenate([clustered, lone]).clip(0, np.subtract(shape, 1))
        tomograms.append(Layout(np.repeat([0, 1], 60), centers, np.full((120, 3, 3), np.nan)))
    found = layout_statistics(tomograms, [shape] * 4, 10.0, radii)
    drawn = [draw_layout(found, shape, radii, numpy_generator(9, "test", index)) for index in range(4)]
    there, again = (_companions(some, 0, 3, 18) for some in (tomograms, drawn))
    assert again == pytest.approx(there, rel=0.25)
    assert there > 3 * _companions(drawn, 1, 3, 18)
    assert _companions(drawn, 1, 3, 18) == pytest.approx(_companions(tomograms, 1, 3, 18), rel=0.5)


def test_what_is_spaced_evenly_is_drawn() -> None:
    places = [(20, y, x) for y in range(10, 200, 30) for x in range(10, 200, 30)]
    found = layout_statistics([_layout([0] * 49, places)], [(40, 200, 200)], 10.0, {"a": 100.0})
    assert len(draw_layout(found, (40, 200, 200), {"a": 100.0}, numpy_generator(0, "test"))) == 49
