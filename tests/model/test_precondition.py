"""Scales against the table of Karras et al. 2022, and against what they are for: unit variance, the best guess."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.settings import DiffusionSettings
from frazil.model.noise import NoiseSchedule
from frazil.model.precondition import edm_scales, inverse_variance_scales, plain_scales

ABAR = NoiseSchedule.from_settings(DiffusionSettings()).alphas_cumprod
steps, deviations = st.integers(0, 999), st.floats(0.01, 10)


def scales(t, std):
    result = edm_scales(ABAR[[t]], torch.tensor([std], dtype=torch.float64))
    return result.skip.item(), result.into.item(), result.out.item()


@given(t=steps, std=deviations)
def test_scales_are_those_of_edm_on_the_rescaled_volume(t, std):
    root = ABAR[t].item() ** 0.5
    sigma = (1 / ABAR[t].item() - 1) ** 0.5
    c_skip = std**2 / (sigma**2 + std**2)
    c_in = 1 / (sigma**2 + std**2) ** 0.5
    c_out = sigma * std / (sigma**2 + std**2) ** 0.5
    assert scales(t, std) == pytest.approx((c_skip / root, c_in / root, c_out), rel=1e-6)


@given(t=steps, std=deviations)
def test_input_and_target_have_unit_variance_and_skip_is_the_wiener_filter(t, std):
    skip, into, out = scales(t, std)
    abar = ABAR[t].item()
    variance = abar * std**2 + 1 - abar  # of x_t
    assert into**2 * variance == pytest.approx(1, rel=1e-5)
    assert skip == pytest.approx(abar**0.5 * std**2 / variance, rel=1e-5)  # cov(x0, x_t) / var(x_t)
    error = std**2 * (1 - abar**0.5 * skip) ** 2 + skip**2 * (1 - abar)  # var(x0 - skip x_t)
    assert out**2 == pytest.approx(error, rel=1e-3, abs=1e-7)


@given(t=steps)
def test_with_unit_deviation_the_network_predicts_minus_v(t):
    # x_t = a x0 + b noise and x0 = skip x_t + out F give F = b x0 - a noise for a^2 + b^2 = 1
    skip, into, out = scales(t, 1.0)
    a, b = ABAR[t].item() ** 0.5, (1 - ABAR[t].item()) ** 0.5
    assert into == pytest.approx(1, rel=1e-6)
    assert skip * a + out * b == pytest.approx(1, rel=1e-6)
    assert skip * b - out * a == pytest.approx(0, abs=1e-6)


def test_bands_and_volumes_have_their_own_scales():
    result = edm_scales(ABAR[[10, 900, 500]], torch.tensor([2.5, 0.06]))
    assert result.skip.shape == result.into.shape == result.out.shape == (3, 2, 1, 1, 1)
    assert result.skip.dtype == torch.float32
    assert result.out[1, 1].item() == pytest.approx(scales(900, 0.06)[2], rel=1e-5)
    assert torch.equal(plain_scales(torch.tensor([2.5, 0.06])).out.flatten(), torch.tensor([2.5, 0.06]))


@given(t=steps, std=deviations, error=st.floats(1e-3, 1))
def test_two_estimates_of_a_volume_are_weighed_by_their_precision(t, std, error):
    scales = inverse_variance_scales(ABAR[[t]], torch.tensor([std], dtype=torch.float64), error)
    skip, into, out = scales.skip.item(), scales.into.item(), scales.out.item()
    abar = ABAR[t].item()
    sigma = (1 / abar - 1) ** 0.5
    of_volume, of_network = skip * abar**0.5, out / std  # the network speaks in units of the band
    assert into == 1
    assert of_volume + of_network == pytest.approx(1, rel=1e-6)  # both are unbiased, so is their average
    assert of_volume / of_network == pytest.approx(error**2 / sigma**2, rel=1e-5)
    least = 1 / (1 / error**2 + 1 / sigma**2)  # the variance of the best average of two independent estimates
    assert (of_volume * sigma) ** 2 + (of_network * error) ** 2 == pytest.approx(least, rel=1e-5)


def test_far_above_its_error_the_network_speaks_alone():
    band = torch.tensor([2.5, 0.06])
    scales, plain = inverse_variance_scales(ABAR[[300, 999]], band), plain_scales(band)
    assert scales.skip.max().item() < 1e-3
    torch.testing.assert_close(scales.out, plain.out.expand_as(scales.out), rtol=1e-3, atol=0)
