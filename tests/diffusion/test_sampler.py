"""Samplers against data whose best denoiser is known in closed form, and what a sample may depend on."""

import math

import pytest
import torch

from frazil.diffusion.objective import posterior
from frazil.diffusion.sampler import sample_volumes
from frazil.diffusion.schedule import NoiseSchedule, make_scheduler
from frazil.errors import RequestError
from frazil.model.unet import build_network
from frazil.records import Condition
from frazil.seeds import torch_generator
from frazil.settings import DiffusionSettings, ModelSettings

PAPER = DiffusionSettings()
SCHEDULE = NoiseSchedule.from_settings(PAPER)
SAMPLERS = [("ddpm", 1000), ("ddim", 250), ("dpm++", 20), ("unipc", 20)]


def condition_of(count):
    return Condition(torch.arange(count) % 2, torch.linspace(0.1, 0.9, 3 * count).view(count, 3))


def generators(count, first=0):
    return [torch_generator(0, "sample", index) for index in range(first, first + count)]


def gaussian_denoiser(mean, std):
    """Return E[x0 | x_t] for voxels that are independent and N(mean, std^2): no network can do better."""

    def denoise(x_t, t, condition):
        abar = SCHEDULE.alphas_cumprod[t].view(-1, 1, 1, 1, 1)
        gain = abar.sqrt() * std**2 / (abar * std**2 + 1 - abar)
        return (mean + gain * (x_t - abar.sqrt() * mean)).float()

    return denoise


@pytest.mark.parametrize(("sampler", "steps"), SAMPLERS)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-13.0, 0.5), (2.0, 2.0)])
def test_samples_of_a_gaussian_are_that_gaussian(sampler, steps, mean, std):
    # mean -13 is where z-scored tomograms end; the default clipping of diffusers would end at -1
    samples = sample_volumes(
        gaussian_denoiser(mean, std),
        condition_of(2),
        box_size_voxel=24,
        generators=generators(2),
        settings=PAPER,
        sampler=sampler,
        steps=steps,
    )
    # all start from N(0, 1) where the data, noised to the end, would be N(sqrt(abar) mean, 1); a sampler without noise
    # carries that difference along
    unforgotten = abs(mean) * SCHEDULE.alphas_cumprod[-1].sqrt().item()
    assert samples.mean().item() == pytest.approx(mean, abs=(0.02 + unforgotten) * std)
    assert samples.std().item() == pytest.approx(std, rel=0.04)
    standard = (samples - samples.mean()) / samples.std()
    assert (standard**3).mean().item() == pytest.approx(0, abs=0.06)
    assert (standard**4).mean().item() == pytest.approx(3, abs=0.12)


def test_ancestral_sampling_has_the_variance_that_eq_3_predicts():
    # x -> a x + b plus noise, step by step: mean and variance follow in float64 without drawing anything
    mean, std = -3.0, 0.7
    expected_mean, expected_variance = torch.zeros(1, dtype=torch.float64), 1.0
    for t in range(999, -1, -1):
        steps = torch.tensor([t])
        abar = SCHEDULE.alphas_cumprod[t].item()
        gain = math.sqrt(abar) * std**2 / (abar * std**2 + 1 - abar)

        def step(x, steps=steps, gain=gain, abar=abar):
            return posterior(mean + gain * (x - math.sqrt(abar) * mean), x, steps, SCHEDULE)

        zero = torch.zeros(1, dtype=torch.float64)
        slope = (step(zero + 1).mean - step(zero).mean).item()
        expected_mean = step(expected_mean).mean
        expected_variance = slope**2 * expected_variance + step(zero).variance.item()
    samples = sample_volumes(
        gaussian_denoiser(mean, std), condition_of(1), box_size_voxel=32, generators=generators(1), settings=PAPER
    )
    count = samples.numel()
    assert samples.mean().item() == pytest.approx(expected_mean.item(), abs=4 * std / count**0.5)
    assert samples.var().item() == pytest.approx(expected_variance, rel=4 * (2 / count) ** 0.5)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm++", "unipc"])
def test_the_last_step_ends_at_the_clean_volume(sampler):
    truth = torch.linspace(-13, 5, 512).view(1, 1, 8, 8, 8)
    samples = sample_volumes(
        lambda x_t, t, condition: truth.expand_as(x_t),
        condition_of(2),
        box_size_voxel=8,
        generators=generators(2),
        settings=PAPER,
        sampler=sampler,
        steps=10,
    )
    torch.testing.assert_close(samples, truth.expand(2, -1, -1, -1, -1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("sampler", ["dpm++", "unipc"])
@pytest.mark.parametrize("steps", [1, 2, 3, 15, 100, 998, 999, 1000])
def test_solvers_are_finite_at_every_step_count(sampler, steps):
    samples = sample_volumes(
        gaussian_denoiser(0.0, 1.0),
        condition_of(1),
        box_size_voxel=8,
        generators=generators(1),
        settings=PAPER,
        sampler=sampler,
        steps=steps,
    )
    assert samples.isfinite().all()


def test_second_order_solvers_converge_faster_than_ddim():
    # a denoiser that is not affine in x, so that the solvers have something to get wrong: two Gaussians
    def denoise(x_t, t, condition):
        abar = SCHEDULE.alphas_cumprod[t].view(-1, 1, 1, 1, 1)
        variance = abar * 0.25 + 1 - abar
        tilt = torch.tanh(2 * abar.sqrt() * x_t / variance)
        return (2 * tilt + abar.sqrt() * 0.25 / variance * (x_t - 2 * abar.sqrt() * tilt)).float()

    def run(sampler, steps):
        return sample_volumes(
            denoise,
            condition_of(1),
            box_size_voxel=16,
            generators=generators(1),
            settings=PAPER,
            sampler=sampler,
            steps=steps,
        )

    reference = run("ddim", 1000)
    errors = {name: (run(name, 20) - reference).abs().mean().item() for name in ("ddim", "dpm++", "unipc")}
    assert errors["dpm++"] < 0.5 * errors["ddim"]
    assert errors["unipc"] < 0.5 * errors["ddim"]


@pytest.fixture(scope="module")
def network():
    return build_network(ModelSettings(base_channels=8, embedding_width=16), 2).eval()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 4), ("ddim", 4), ("dpm++", 4), ("unipc", 4)])
def test_a_sample_is_bitwise_the_same_in_every_batch(network, sampler, steps, precision):
    count = 4
    condition = condition_of(count)

    def run(first, size):
        return sample_volumes(
            network,
            condition[first : first + size],
            box_size_voxel=8,
            generators=generators(min(size, count - first), first),
            settings=PAPER,
            sampler=sampler,
            steps=steps,
            precision=precision,
        )

    together = run(0, count)
    assert together.std() > 0
    for size in (1, 3):
        assert torch.equal(torch.cat([run(first, size) for first in range(0, count, size)]), together)
    assert not torch.equal(together[0], together[2])


def test_boxes_need_not_be_cubes_and_progress_is_told(network):
    told = []
    samples = sample_volumes(
        network,
        condition_of(1),
        box_size_voxel=(8, 16, 24),
        generators=generators(1),
        settings=PAPER,
        sampler="dpm++",
        steps=3,
        on_step=lambda: told.append(1),
    )
    assert samples.shape == (1, 1, 8, 16, 24)
    assert samples.dtype == torch.float32
    assert len(told) == 3


def test_global_random_state_is_neither_used_nor_changed(network):
    def run():
        return sample_volumes(
            network, condition_of(1), box_size_voxel=8, generators=generators(1), settings=PAPER, steps=4
        )

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = run()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(run(), first)


def test_network_sees_the_scheduler_timesteps(network):
    seen = []

    def record(x_t, t, condition):
        seen.append(t.tolist())
        return x_t

    sample_volumes(record, condition_of(2), box_size_voxel=8, generators=generators(2), settings=PAPER, steps=4)
    assert (
        seen
        == [[t, t] for t in make_scheduler("ddpm", PAPER, 4).timesteps.tolist()]
        == [[t] * 2 for t in (999, 749, 499, 249)]
    )


def test_one_generator_a_sample_is_demanded(network, refuses):
    with refuses(RequestError, "3 generators", "2 samples", "one generator a sample"):
        sample_volumes(network, condition_of(2), box_size_voxel=8, generators=generators(3), settings=PAPER)
