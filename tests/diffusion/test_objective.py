"""Forward process and loss against independent closed forms."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.records import Condition
from frazil.core.settings import DiffusionSettings
from frazil.diffusion.objective import denoising_errors, loss_weights, noise_volumes
from frazil.model.noise import NoiseSchedule
from frazil.model.wavelet import FrontEnd, haar_join

SCHEDULE = NoiseSchedule.from_settings(DiffusionSettings())


class Answering:
    """A network that gives one answer, and keeps what it was asked."""

    def __init__(self, answer, front_end="haar"):
        self.answer, self.front_end = answer, FrontEnd(front_end)

    def __call__(self, x_t, t, condition):
        self.asked = x_t, t, condition
        return self.answer(x_t)


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


@pytest.mark.parametrize("front_end", ["none", "haar"])
def test_errors_are_the_mean_squared_error_of_each_volume(front_end):
    x0, noise = torch.randn(3, 1, 4, 4, 4), torch.randn(3, 1, 4, 4, 4)
    offset = torch.randn(3, 1, 4, 4, 4)
    t = torch.tensor([0, 500, 999])
    network, condition = Answering(lambda _: x0 + offset, front_end), some_condition(3)
    errors = denoising_errors(network, x0, condition, t, noise, SCHEDULE)
    torch.testing.assert_close(errors.mean(dim=1), offset.square().flatten(1).mean(dim=1))
    assert network.asked[1:] == (t, condition)
    torch.testing.assert_close(network.asked[0], noise_volumes(x0, t, noise, SCHEDULE))


def test_an_error_counts_in_its_band():
    bands = torch.zeros(1, 8, 2, 2, 2)
    bands[:, 3] = 0.5
    x0 = torch.randn(1, 1, 4, 4, 4)
    network = Answering(lambda _: x0 + haar_join(bands))
    errors = denoising_errors(network, x0, some_condition(1), torch.tensor([10]), x0 * 0, SCHEDULE)
    torch.testing.assert_close(errors, torch.tensor([[0, 0, 0, 0.25, 0, 0, 0, 0]]))


def test_errors_are_float32_where_the_network_is_bf16():
    x0 = torch.randn(1, 1, 4, 4, 4)
    network = Answering(torch.Tensor.bfloat16)
    assert (
        denoising_errors(network, x0, some_condition(1), torch.tensor([999]), x0 * 0, SCHEDULE).dtype == torch.float32
    )


@given(t=st.lists(st.integers(0, 999), min_size=1, max_size=4), gamma=st.floats(0.1, 100))
@pytest.mark.parametrize(("weighting", "more"), [("min-snr", (0, 0, 0)), ("snr-plus-one", (1, 1, 16))])
def test_weights_are_the_signal_to_noise_ratio_up_to_gamma(weighting, more, t, gamma):
    std = torch.tensor([2.0, 1.0, 0.25])
    weights = loss_weights(torch.tensor(t), SCHEDULE, std, weighting=weighting, min_snr_gamma=gamma)
    assert weights.dtype == torch.float32
    for step, of_bands in zip(t, weights.tolist(), strict=True):
        abar = torch.prod(1 - torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)[: step + 1]).item()
        assert of_bands == pytest.approx([min(abar / (1 - abar) + one, gamma) for one in more], rel=1e-6)


def test_uniform_weights_are_one():
    weights = loss_weights(
        torch.tensor([0, 500, 999]), SCHEDULE, torch.tensor([2.0, 0.1]), weighting="uniform", min_snr_gamma=5.0
    )
    assert weights.tolist() == [[1, 1]] * 3
