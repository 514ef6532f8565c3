import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.measure import block_reduce
from skimage.metrics import structural_similarity

from frazil.core.errors import ShapeError
from frazil.evaluation.metrics.similarity import ms_ssim, scale_count


def pair(edge, seed=0):
    random = np.random.default_rng(seed)
    one = gaussian_filter(random.random((edge, edge, edge)), 1.5)
    one = (one - one.min()) / np.ptp(one)
    return one.astype(np.float32), (0.8 * one + 0.1 + 0.1 * random.random(one.shape)).astype(np.float32)


def reference(one, other, **constants):
    """Return the structural similarity of scikit-image, with the Gaussian window of 11 of Wang et al."""
    return structural_similarity(
        one, other, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, **constants
    )


def test_one_scale_agrees_with_scikit_image():
    one, other = pair(20)
    assert ms_ssim(one[None], other[None])[0] == pytest.approx(reference(one, other), abs=1e-5)


def test_two_scales_are_contrast_at_the_fine_one_and_all_at_the_coarse_one():
    one, other = pair(24)
    # with a large first constant luminance is 1, and contrast is left
    contrast = reference(one, other, K1=1e3)
    coarse = reference(block_reduce(one, 2, np.mean), block_reduce(other, 2, np.mean))
    weight = 0.0448 / (0.0448 + 0.2856)
    expected = contrast**weight * coarse ** (1 - weight)
    assert ms_ssim(one[None], other[None])[0] == pytest.approx(expected, abs=1e-5)


def test_equal_volumes_have_similarity_one():
    one, _ = pair(16)
    constant = np.full_like(one, 0.3)
    assert ms_ssim(np.stack([one, constant]), np.stack([one, constant])) == pytest.approx([1, 1], abs=1e-6)


def test_partners_are_compared_each_for_itself_and_either_way():
    first, second = pair(24), pair(24, seed=1)
    one, other = np.stack([first[0], second[0]]), np.stack([first[1], second[0]])
    both = ms_ssim(one, other)
    assert both[1] == pytest.approx(1, abs=1e-6)
    assert both[0] == pytest.approx(ms_ssim(*[volume[None] for volume in first])[0], abs=1e-6)
    assert both == pytest.approx(ms_ssim(other, one), abs=1e-6)


def test_a_box_has_as_many_scales_as_hold_the_window():
    assert [scale_count(edge) for edge in (11, 21, 22, 43, 44, 64, 88, 1000)] == [1, 1, 2, 2, 3, 3, 4, 5]
    with pytest.raises(ShapeError, match="boxes of 10 voxels are too small for structural similarity; use 11 or more"):
        scale_count(10)
