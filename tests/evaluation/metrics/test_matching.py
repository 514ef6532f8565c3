import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from frazil.core.errors import ShapeError
from frazil.core.seeds import numpy_generator
from frazil.evaluation.metrics.matching import Search, aligned_box, nearest_boxes
from frazil.volume.turns import TURNS, turn_half

EDGE = 32


def smooth(count, *path, edge=EDGE, sigma=1.5) -> np.ndarray:
    """Smooth noise, z-scored: like boxes whose power falls with frequency."""
    noise = numpy_generator(0, "matching", *path).standard_normal((count, edge, edge, edge))
    boxes = gaussian_filter(noise, (0, sigma, sigma, sigma))
    boxes -= boxes.mean(axis=(1, 2, 3), keepdims=True)
    return (boxes / boxes.std(axis=(1, 2, 3), keepdims=True)).astype(np.float32)


def shells(count, *path) -> np.ndarray:
    """Dark shells of three sizes, a little off the center, in smooth noise: boxes that are all much alike."""
    random = numpy_generator(0, "matching shells", *path)
    boxes = smooth(count, "shells", *path, sigma=2)
    grid = np.stack(np.meshgrid(*[np.arange(EDGE) - EDGE // 2] * 3, indexing="ij"), axis=-1)
    for box in boxes:
        radius, offset = random.choice([5.0, 8.0, 11.0]), random.uniform(-1, 1, size=3)
        box -= 2 * np.exp(-(((np.linalg.norm(grid - offset, axis=-1) - radius) / 1.5) ** 2))
    return boxes


def plain_distance(volume, box, turn, shift_voxel) -> float:
    """The definition, in one line of NumPy."""
    cube = (Search(len(volume)).cube,) * 3
    moved = aligned_box(box, turn, shift_voxel, fill=np.nan)
    return 1 - np.corrcoef(volume[cube].ravel(), moved[cube].ravel())[0, 1]


@pytest.mark.parametrize("edge", [8, 9, 15, 16, 24, 31, 32, 40, 48, 64, 96, 128])
def test_a_search_stays_inside_the_box(edge):
    search = Search(edge)
    assert search.shift_voxel == (4 if edge >= 32 else edge // 8)
    low, high = search.cube.start - search.shift_voxel, search.cube.stop - 1 + search.shift_voxel
    assert low == 1  # voxel 0 has no partner in a turned box
    assert high <= edge - 1
    assert search.cube.start + search.cube.stop - 1 == 2 * (edge // 2)  # about voxel D/2
    sampling = search.sampling(search.lags)
    np.testing.assert_allclose(sampling.sum(dim=2), search.spacing_voxel, rtol=1e-6)  # no weight falls out of the box
    used = np.flatnonzero(search.sampling([0])[0].sum(dim=0))
    assert search.cube.start <= used[0]
    assert used[-1] < search.cube.stop
    screened = search.lags[:: search.step_voxel]
    assert screened[0] == -screened[-1] == -search.shift_voxel


@pytest.mark.parametrize(
    ("turn", "shift_voxel"),
    [("identity", (0, 0, 0)), ("x", (4, -4, 1)), ("y", (-3, 0, 2)), ("z", (1, 3, -4)), ("identity", (-4, 4, 4))],
)
@pytest.mark.parametrize("edge", [15, 16, 32, 48])
def test_a_planted_copy_is_found_with_its_box_turn_and_shift(edge, turn, shift_voxel):
    limit = Search(edge).shift_voxel
    shift_voxel = tuple(np.clip(shift_voxel, -limit, limit))
    boxes = smooth(12, "planted", edge=edge)
    noise = numpy_generator(1, "noise").standard_normal(boxes[0].shape)
    copy = aligned_box(boxes[7], turn, shift_voxel)
    copy = (3 * (copy + 0.2 * noise) + 5).astype(np.float32)  # contrast and mean do not matter
    found = nearest_boxes(copy[None], boxes)
    assert found.box[0, 0] == 7
    assert TURNS[found.turn[0, 0]] == turn
    assert tuple(found.shift_voxel[0, 0]) == shift_voxel
    # 1 - 1 / hypot(1, 0.2) = 0.019 where the compared cube has the contrast of the whole box
    assert 0.01 < found.distance[0, 0] < 0.05
    assert found.distance[0, 1] > 5 * found.distance[0, 0]


@pytest.mark.parametrize("edge", [15, 16, 32])
def test_a_copy_without_noise_has_distance_0(edge):
    boxes = smooth(3, "exact", edge=edge)
    copies = np.stack([aligned_box(boxes[1], turn, (1, -1, 1)) for turn in TURNS])
    found = nearest_boxes(copies, boxes)
    np.testing.assert_array_equal(found.box[:, 0], 1)
    np.testing.assert_allclose(found.distance[:, 0], 0, atol=1e-5)


@pytest.mark.parametrize("edge", [9, 16, 32])
def test_distances_are_those_of_the_definition(edge):
    volumes, boxes = smooth(3, "volumes", edge=edge), 4 * smooth(4, "boxes", edge=edge) - 7
    found = nearest_boxes(volumes, boxes)
    assert (np.diff(found.distance, axis=1) >= 0).all()
    for row in range(3):
        assert sorted(found.box[row]) == [0, 1, 2, 3]
        for place in range(4):
            box, turn = boxes[found.box[row, place]], TURNS[found.turn[row, place]]
            expected = plain_distance(volumes[row], box, turn, found.shift_voxel[row, place])
            assert found.distance[row, place] == pytest.approx(expected, abs=1e-5)


def test_the_best_turn_and_shift_are_found_among_all():
    volume, box = smooth(1, "one", edge=8, sigma=0.5), smooth(1, "other", edge=8, sigma=0.5)
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    every = [plain_distance(volume[0], box[0], turn, shift) for turn in TURNS for shift in shifts]
    assert nearest_boxes(volume, box).distance[0, 0] == pytest.approx(min(every), abs=1e-5)


def test_screening_finds_the_exact_nearest_of_boxes_that_are_all_alike():
    volumes, boxes = shells(24, "volumes"), shells(80, "boxes")
    exact = nearest_boxes(volumes, boxes, candidates=len(boxes))
    screened = nearest_boxes(volumes, boxes, candidates=8)  # a quarter of what is usual at this edge
    assert screened.box.shape == (24, 8)
    assert (screened.box[:, 0] == exact.box[:, 0]).mean() >= 0.9
    excess = screened.distance[:, 0] / exact.distance[:, 0] - 1
    assert excess.min() >= -1e-6
    assert excess.mean() < 0.005
    # the task is not trivial: the nearest are hardly nearer than the next
    assert np.median(exact.distance[:, 0] / exact.distance[:, 1]) > 0.9


def test_own_box_does_not_count_and_a_lone_box_has_no_other():
    boxes = smooth(4, "own", edge=16)
    found = nearest_boxes(boxes, boxes, rows=[2, 0], own=[2, 0])
    assert 2 not in found.box[0]
    assert 0 not in found.box[1]
    assert found.distance[0, 0] > 0.3
    assert found.box[0, -1] == -1  # three others for four places
    assert np.isnan(found.distance[0, -1])
    alone = nearest_boxes(boxes[:1], boxes[:1], own=[0])
    assert alone.box.tolist() == [[-1]]


def test_blocks_rows_and_the_other_volumes_change_nothing(monkeypatch):
    boxes, volumes = smooth(9, "blocks", edge=16), smooth(5, "block volumes", edge=16)
    whole = nearest_boxes(volumes, boxes, candidates=3)
    monkeypatch.setattr("frazil.evaluation.metrics.matching._VOLUMES_AT_ONCE", 2)
    monkeypatch.setattr("frazil.evaluation.metrics.matching._PRODUCT_NUMBERS", 1)
    monkeypatch.setattr("frazil.evaluation.metrics.matching._REFINED_AT_ONCE", 2)
    parts = nearest_boxes(volumes, boxes, rows=[4, 3, 2, 1, 0], candidates=3)
    for name in ("box", "turn", "shift_voxel"):
        np.testing.assert_array_equal(getattr(parts, name)[::-1], getattr(whole, name))
    np.testing.assert_allclose(parts.distance[::-1], whole.distance, atol=1e-6)


def test_constant_volumes_and_boxes_resemble_nothing():
    boxes = smooth(2, "constant", edge=16)
    boxes[0] = 3.5
    found = nearest_boxes(np.stack([boxes[0], boxes[1]]), boxes)
    np.testing.assert_array_equal(found.distance[0], 1)
    assert found.box[1, 0] == 1
    assert found.distance[1].tolist() == pytest.approx([0, 1], abs=1e-5)


def test_progress_counts_every_volume(monkeypatch):
    monkeypatch.setattr("frazil.evaluation.metrics.matching._VOLUMES_AT_ONCE", 2)
    told = []
    nearest_boxes(smooth(3, "progress", edge=8), smooth(3, "progress boxes", edge=8), on_volumes=told.append)
    assert len(told) > 3
    assert sum(told) == pytest.approx(3)
    assert nearest_boxes(smooth(3, "p", edge=8)[:0], smooth(3, "q", edge=8)).box.shape == (0, 3)


def test_an_aligned_box_is_turned_then_shifted_and_filled():
    box = np.arange(8**3, dtype=np.float32).reshape(8, 8, 8) + 1
    moved = aligned_box(box, "z", (2, 0, -1), fill=-5)
    turned = turn_half(box, "z")
    assert moved[2 + 3, 4, 5 - 1] == turned[3, 4, 5]
    assert (moved[:2] == -5).all()  # shifted in
    assert (moved[..., -1] == -5).all()
    assert (moved[:, 0] == -5).all()  # y = 0 has no partner
    np.testing.assert_array_equal(aligned_box(box, "identity", (0, 0, 0)), box)
    odd = aligned_box(box[:7, :7, :7], "x", (0, 0, 0), fill=-5)
    np.testing.assert_array_equal(odd, box[:7, :7, :7][::-1, ::-1])


def test_tiny_boxes_are_refused(refuses):
    boxes = np.zeros((2, 4, 4, 4), dtype=np.float32)
    with refuses(ShapeError, "4^3", "8 or more"):
        nearest_boxes(boxes, boxes)
