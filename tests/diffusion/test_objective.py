"""Forward process and loss against independent closed forms."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.records import Condition
from frazil.core.settings import DiffusionSettings
from frazil.diffusion.objective import denoising_loss, loss_weights, noise_volumes
from frazil.model.noise import NoiseSchedule

SCHEDULE = NoiseSchedule.from_settings(DiffusionSettings())


def some_condition(count):
    return Condition(torch.zeros(count, dtype=torch.int64), torch.zeros(count, 3))


@given(t=st.lists(st.integers(0, 999), min_size=1, max_size=4))
def test_forward_process_is_eq_2(t):
    random = torch.Generator().manual_seed(1)
    x0, noise = (torch.randn(len(t), 1, 2, 3, 4, generator=random, dtype=torch.float64) for _ in range(2))
    x_t = noise_volumes(x0, torch.tensor(t), noise, SCHEDULE)
    for i, step in enumerate(t):
        abar = torch.prod(1 - torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)[: step + 1])
        torch.testing.assert_close(x_t[i], abar**0.5 * x0[i] + (1 - abar) ** 0.5 * noise[i])


def test_forward_process_keeps_faint_noise_under_bf16():
    x0, noise = torch.full((1, 1, 2, 2, 2), -13.0), torch.ones(1, 1, 2, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        x_t = noise_volumes(x0, torch.tensor([0]), noise, SCHEDULE)
    assert x_t.dtype == torch.float32
    torch.testing.assert_close(x_t, torch.full_like(x_t, -13 * 0.9999**0.5 + 0.01), atol=1e-5, rtol=0)


def test_loss_is_the_mean_squared_error_of_each_volume():
    x0, noise = torch.randn(3, 1, 4, 4, 4), torch.randn(3, 1, 4, 4, 4)
    offset = torch.tensor([0.0, 0.5, -2.0])
    t = torch.tensor([0, 500, 999])
    seen = {}

    def network(x_t, steps, condition):
        seen.update(x_t=x_t, t=steps, condition=condition)
        return x0 + offset[:, None, None, None, None]

    condition = some_condition(3)
    loss = denoising_loss(network, x0, condition, t, noise, SCHEDULE)
    torch.testing.assert_close(loss, offset**2)
    assert seen["condition"] is condition
    assert seen["t"] is t
    torch.testing.assert_close(seen["x_t"], noise_volumes(x0, t, noise, SCHEDULE))


def test_loss_is_float32_where_the_network_is_bf16():
    x0 = torch.randn(1, 1, 4, 4, 4)
    loss = denoising_loss(
        lambda x_t, t, condition: x_t.bfloat16(), x0, some_condition(1), torch.tensor([999]), x0 * 0, SCHEDULE
    )
    assert loss.dtype == torch.float32


@given(t=st.lists(st.integers(0, 999), min_size=1, max_size=4), gamma=st.floats(0.1, 100))
@pytest.mark.parametrize(("weighting", "more"), [("min-snr", 0), ("snr-plus-one", 1)])
def test_weights_are_the_signal_to_noise_ratio_up_to_gamma(weighting, more, t, gamma):
    weights = loss_weights(torch.tensor(t), SCHEDULE, weighting=weighting, min_snr_gamma=gamma)
    assert weights.dtype == torch.float32
    for step, weight in zip(t, weights.tolist(), strict=True):
        abar = torch.prod(1 - torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)[: step + 1]).item()
        assert weight == pytest.approx(min(abar / (1 - abar) + more, gamma), rel=1e-6)


def test_uniform_weights_are_one():
    weights = loss_weights(torch.tensor([0, 500, 999]), SCHEDULE, weighting="uniform", min_snr_gamma=5.0)
    assert weights.tolist() == [1, 1, 1]
