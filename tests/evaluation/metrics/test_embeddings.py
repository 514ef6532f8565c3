import numpy as np
import pytest
import torch

from frazil.core.errors import ShapeError
from frazil.evaluation.metrics.embeddings import HandcraftedEmbedding, RandomEmbedding, Remembered, fixed_embeddings


def noise(count=3, edge=16, seed=0):
    return np.random.default_rng(seed).standard_normal((count, edge, edge, edge)).astype(np.float32)


@pytest.mark.parametrize("name", ["random", "handcrafted"])
@pytest.mark.parametrize("edge", [16, 24, 32])
def test_features_are_numbers_and_depend_on_each_volume_alone(name, edge):
    embedding = fixed_embeddings()[name]
    volumes = noise(9, edge)  # more than a batch
    features = embedding(volumes)
    assert features.dtype == np.float32
    assert features.shape[0] == 9
    assert np.isfinite(features).all()
    assert embedding(volumes[4:6]) == pytest.approx(features[4:6], abs=1e-5)
    assert np.ptp(features, axis=0).max() > 0


@pytest.mark.parametrize("name", ["random", "handcrafted"])
def test_the_same_volumes_have_the_same_features_to_the_last_bit_and_global_seeds_do_not_count(name):
    first = fixed_embeddings()[name](noise())
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    assert np.array_equal(fixed_embeddings()[name](noise()), first)


def test_random_weights_are_what_they_were_and_say_so():
    """Numbers of different versions of frazil can be compared only while this holds."""
    embedding = RandomEmbedding()
    assert embedding.digest.startswith("39d1235baf3e")
    assert "39d1235baf3e" in embedding.description
    assert embedding(noise()).shape == (3, 240)


def test_the_first_level_is_the_convolution_it_says():
    embedding = RandomEmbedding(channels=(2,))
    volumes = torch.from_numpy(noise(1))
    weight, bias = embedding._weights[0], embedding._biases[0]
    padded = torch.nn.functional.pad(volumes, (1,) * 6)[0]
    windows = padded.unfold(0, 3, 1).unfold(1, 3, 1).unfold(2, 3, 1)
    active = (torch.einsum("zyxabc,oabc->ozyx", windows, weight[:, 0]) + bias[:, None, None, None]).clamp(min=0)
    assert embedding(volumes.numpy())[0, :2] == pytest.approx(active.mean(dim=(1, 2, 3)).numpy(), abs=1e-5)


def test_white_noise_has_flat_bands_and_gaussian_moments():
    features = HandcraftedEmbedding()(noise(20, 32)).mean(axis=0)
    moments = features[-16:]
    spread, skew, log_kurtosis = moments[:3]
    assert (spread, skew, log_kurtosis) == pytest.approx((1, 0, np.log(3)), abs=0.03)
    assert moments[3] == pytest.approx(8**-0.5, abs=0.02)  # a mean over 2^3 independent voxels
    assert moments[13] == pytest.approx(64**-0.5, abs=0.02)
    bands, profiles = features[:-16], features[-16 - 46 : -16]
    assert np.median(bands[: len(bands) - 46]) == pytest.approx(0, abs=0.06)  # log10 of 1
    assert np.abs(np.median(profiles)) < 0.05


def test_a_wave_is_in_its_band_and_a_sphere_in_its_profile():
    z, y, x = np.indices((32, 32, 32)) - 16
    embedding = HandcraftedEmbedding()
    quiet = 1e-3 * noise(1, 32)[0]
    along_x, along_z = (np.cos(2 * np.pi * 0.2 * axis) + quiet for axis in (x, z))
    features = embedding(np.stack([along_x, along_z]).astype(np.float32))
    # shells are 1/16 wide: 0.2 is in the fourth; the first sector is around kx, the sixth around kz
    loudest = features[:, :50].argmax(axis=1)
    assert loudest[1] - loudest[0] == 5
    ball = (z**2 + y**2 + x**2 <= 36).astype(np.float32) + quiet
    profile = embedding(ball[None].astype(np.float32))[0][-16 - 48 :][:16]
    assert profile[:5] == pytest.approx(1, abs=0.02)
    assert profile[8:] == pytest.approx(0, abs=0.02)


def test_remembered_features_are_not_computed_again():
    asked = []

    def embedding(volumes):
        asked.append(len(volumes))
        return volumes.reshape(len(volumes), -1)[:, :2]

    embedding.description = "two voxels"
    remembered = Remembered(embedding)
    volumes = noise(4)
    assert np.array_equal(remembered(volumes[:3]), volumes.reshape(4, -1)[:3, :2])
    assert np.array_equal(remembered(volumes[[2, 3, 0, 3]]), volumes.reshape(4, -1)[[2, 3, 0, 3], :2])
    remembered(volumes)
    assert asked == [3, 1]
    assert remembered.description == "two voxels"


@pytest.mark.parametrize("name", ["random", "handcrafted"])
def test_boxes_that_do_not_fit_are_refused(name):
    embedding = fixed_embeddings()[name]
    with pytest.raises(ShapeError, match=r"boxes of 8 voxels are too small .* 16"):
        embedding(np.zeros((1, 8, 8, 8), np.float32))


def test_constant_and_missing_grey_values_are_refused():
    for value in (0, np.nan):
        volumes = noise(2)
        volumes[1] = value
        with pytest.raises(ShapeError, match="constant gray values"):
            HandcraftedEmbedding()(volumes)
