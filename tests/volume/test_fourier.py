import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import ShapeError
from frazil.core.seeds import torch_generator
from frazil.volume.fourier import frequency_axes, radial_frequency, radial_power

edges = st.integers(min_value=4, max_value=13)


def white_noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch_generator(seed, "noise"), dtype=torch.float64)


def test_frequency_axes_are_in_cycles_per_voxel_and_fft_order():
    kz, ky, kx = frequency_axes((4, 5, 2))
    assert kz.shape == (4, 1, 1)
    assert kz.flatten().tolist() == [0.0, 0.25, -0.5, -0.25]
    assert ky.flatten().tolist() == pytest.approx([0, 0.2, 0.4, -0.4, -0.2])
    assert kx.flatten().tolist() == [0.0, -0.5]


def test_radius_of_the_corner_is_beyond_nyquist():
    assert radial_frequency((4, 4, 4))[2, 2, 2].item() == pytest.approx(0.75**0.5)


@given(shape=st.lists(edges, min_size=2, max_size=3))
def test_shells_hold_all_of_the_power(shape):
    values = white_noise(*shape)
    spectrum = radial_power(values, dimensions=len(shape))
    assert spectrum.count.sum() == values.numel()
    assert (spectrum.power * spectrum.count).sum() / values.numel() == pytest.approx(values.square().mean().item())


@pytest.mark.parametrize("shape", [(32, 32, 32), (128, 192)])
def test_white_noise_has_its_variance_at_every_radius(shape):
    spectrum = radial_power(3.0 * white_noise(*shape), dimensions=len(shape), bins=8)
    spread = (
        2 / spectrum.count
    ).sqrt()  # of a mean of exponential variables, each coefficient paired with its conjugate
    assert ((spectrum.power / 9.0 - 1).abs() < 4 * spread).all()
    assert spread.min() < 0.03


def test_a_wave_has_all_power_on_the_shell_of_its_frequency():
    wave = torch.cos(2 * torch.pi * 6 / 32 * torch.arange(32.0)).expand(32, 32, 32)
    spectrum = radial_power(wave, dimensions=3)
    shell = int(spectrum.power.argmax())
    assert spectrum.frequency[shell].item() == pytest.approx(6 / 32, abs=0.5 / 32)
    assert spectrum.power[shell] * spectrum.count[shell] / wave.numel() == pytest.approx(0.5, rel=1e-4)
    assert spectrum.power.sum() - spectrum.power[shell] < 1e-4 * spectrum.power[shell]


def test_leading_dimensions_are_kept():
    batch = white_noise(2, 3, 8, 10)
    spectrum = radial_power(batch, dimensions=2)
    one = radial_power(batch[1, 2], dimensions=2)
    assert spectrum.power.shape == (2, 3, len(spectrum.count))
    torch.testing.assert_close(spectrum.power[1, 2], one.power)


def test_too_few_dimensions_are_refused():
    with pytest.raises(ShapeError, match="3 dimensions of a 2-dimensional array; give it that many"):
        radial_power(torch.zeros(4, 4), dimensions=3)
