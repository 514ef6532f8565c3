import numpy as np
import pytest
import torch

from frazil.core.errors import ShapeError
from frazil.core.records import Moments
from frazil.volume.intensity import EPSILON, moments, z_score


@pytest.fixture
def volume():
    # like a real tomogram: far smaller than 1, and not centerd
    return (np.random.default_rng(0).standard_normal((8, 9, 10)) * 6e-6 + 1e-5).astype(np.float32)


def test_moments_are_those_of_torch(volume):
    found = moments(volume)
    truth = torch.from_numpy(volume).double()
    assert found.mean == pytest.approx(truth.mean().item(), rel=1e-12)
    assert found.std == pytest.approx(truth.std().item(), rel=1e-12)


def test_moments_survive_a_large_offset():
    values = np.float32([10_000, 10_001, 10_002, 10_003])
    assert moments(values) == Moments(10_001.5, pytest.approx(np.sqrt(5 / 3), rel=1e-12))


def test_moments_of_the_measured_voxels_ignore_the_others(volume):
    measured = np.zeros(volume.shape, dtype=bool)
    measured[2:5] = True
    spoilt = np.where(measured, volume, 1e6).astype(np.float32)
    assert moments(spoilt, measured) == moments(volume[2:5])


@pytest.mark.parametrize("count", [0, 1])
def test_moments_refuse_fewer_than_two_voxels(volume, count):
    measured = np.zeros(volume.shape, dtype=bool)
    measured.flat[:count] = True
    with pytest.raises(ShapeError, match=f"two voxels or more, here are {count}"):
        moments(volume, measured)


def test_z_score_is_equation_1(volume):
    scored = z_score(volume, moments(volume))
    truth = torch.from_numpy(volume)
    np.testing.assert_allclose(scored, (truth - truth.mean()) / truth.std(), atol=1e-5)
    assert scored.dtype == np.float32
    loud = volume * np.float32(1e6)
    expected = (loud - np.float64(moments(loud).mean)) / (moments(loud).std + EPSILON)
    np.testing.assert_array_equal(z_score(loud, moments(loud)), expected.astype(np.float32))


@pytest.mark.parametrize("scale", [1e-30, 1e-11, 1e-8, 1e-3, 1.0, 1e6])
def test_z_scores_have_no_unit(volume, scale):
    scaled = (volume.astype(np.float64) * scale).astype(np.float32)
    assert z_score(scaled, moments(scaled)).std(ddof=1) == pytest.approx(1, rel=1e-5)


def test_the_same_everywhere_is_zero():
    assert not z_score(np.full((2, 2, 2), 3.0, dtype=np.float32), Moments(3.0, 0.0)).any()


def test_z_score_sets_what_was_not_measured_to_zero(volume):
    measured = np.random.default_rng(1).random(volume.shape) < 0.5
    scored = z_score(volume, moments(volume, measured), measured)
    assert (scored[~measured] == 0).all()
    assert scored[measured].mean() == pytest.approx(0, abs=1e-6)
