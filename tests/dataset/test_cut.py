import numpy as np
import pytest

from frazil.core.records import Tomogram, TomogramHeader
from frazil.dataset.cut import CutBox, cut_box
from frazil.dataset.tables import Reason
from frazil.volume.intensity import moments


def tomogram(volume, *, chunk=8, absent=()):
    present = np.ones([-(-edge // chunk) for edge in volume.shape], dtype=bool)
    for place in absent:
        present[place] = False
    header = TomogramHeader("a", volume.shape, 10.0, "a")
    return Tomogram(header, volume, (chunk,) * 3, present)


@pytest.fixture
def volume():
    return np.random.default_rng(0).standard_normal((24, 24, 24)).astype(np.float32) + 3


def cut(volume, center, *, chunk=8, absent=(), **settings):
    return cut_box(
        tomogram(volume, chunk=chunk, absent=absent), np.array(center, dtype=float), box_size_voxel=8, **settings
    )


def test_the_box_around_the_rounded_centre(volume):
    box = cut(volume, [12.4, 11.6, 10])
    np.testing.assert_array_equal(box.volume, volume[8:16, 8:16, 6:14])
    assert box.measured.all()
    assert box.padding == 0
    assert box.padded_moments == box.measured_moments == moments(volume[8:16, 8:16, 6:14])


def test_beyond_the_border_is_padding(volume):
    box = cut(volume, [1, 12, 12])
    assert (box.volume[:3] == 0).all()
    np.testing.assert_array_equal(box.volume[3:], volume[:5, 8:16, 8:16])
    assert box.padding == 3 / 8
    assert box.measured_moments == moments(volume[:5, 8:16, 8:16])
    assert box.padded_moments == moments(box.volume)
    assert box.padded_moments.mean < box.measured_moments.mean


def test_an_absent_chunk_is_padding_whatever_it_reads_as(volume):
    volume[8:16, 8:16, 16:] = np.nan  # a fill value
    box = cut(volume, [12, 12, 15], absent=[(1, 1, 2)])
    assert box.padding == 3 / 8
    assert (box.volume[:, :, 5:] == 0).all()
    np.testing.assert_array_equal(box.volume[:, :, :5], volume[8:16, 8:16, 11:16])


def test_too_much_padding(volume):
    assert cut(volume, [1, 12, 12], max_padding=0.3) is Reason.PADDED
    assert isinstance(cut(volume, [1, 12, 12], max_padding=0.375), CutBox)


def test_nothing_on_disk(volume):
    assert cut(volume, [12, 12, 12], absent=[(1, 1, 1)]) is Reason.ABSENT
    assert cut(volume, [12, 12, 12], absent=[(1, 1, 1)], ratio=0.5) is Reason.ABSENT


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_a_constant_box(volume, ratio):
    volume[6:, 4:, 4:] = 0.1
    assert cut(volume, [16, 16, 16], ratio=ratio) is Reason.CONSTANT


def test_a_box_that_is_constant_but_for_its_padding():
    assert cut(np.full((24, 24, 24), 5, dtype=np.float32), [1, 12, 12]) is Reason.CONSTANT


@pytest.mark.parametrize("ratio", [1.0, 1.5])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite(volume, value, ratio):
    volume[12, 12, 14] = value
    assert cut(volume, [12, 12, 12], ratio=ratio) is Reason.NOT_FINITE


def test_resampled_boxes_lie_exactly_on_the_particle():
    center = np.array([20.3, 21.8, 19.6])
    grid = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), axis=-1)
    ball = np.exp(-((grid - center) ** 2).sum(-1) / 18).astype(np.float32)
    box = cut_box(tomogram(ball), center, box_size_voxel=16, ratio=1.5)
    new = (np.stack(np.meshgrid(*[np.arange(16) - 8] * 3, indexing="ij"), axis=-1) * 1.5) ** 2
    np.testing.assert_allclose(box.volume, np.exp(-new.sum(-1) / 18), atol=0.01)
    assert box.measured.all()


def test_resampling_knows_the_padding(volume):
    volume[:] += 20
    box = cut(volume, [0.6, 12, 12], ratio=0.5)  # new voxels at -1.4, -0.9, -0.4, ...; the tomogram begins at -0.5
    np.testing.assert_array_equal(box.measured.all(axis=(1, 2)), [False, False, True, True, True, True, True, True])
    assert box.padding == 0.25
    assert box.volume[box.measured].min() > 15  # zeros do not bleed in
    assert (box.volume[~box.measured] == 0).all()
