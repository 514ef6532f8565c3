"""Schedulers of diffusers against the closed form in float64, and what each sampler can be asked for."""

import inspect
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil.diffusion.objective import posterior
from frazil.diffusion.schedule import _SCHEDULERS, NoiseSchedule, make_scheduler, resolve_steps
from frazil.errors import RequestError
from frazil.settings import DiffusionSettings

PAPER = DiffusionSettings()


def test_schedule_is_the_closed_form():
    t = np.arange(1000)
    betas = 1e-4 + (2e-2 - 1e-4) * t / 999
    schedule = NoiseSchedule.from_settings(PAPER)
    np.testing.assert_allclose(schedule.betas, betas, rtol=1e-13)
    np.testing.assert_allclose(schedule.alphas_cumprod, np.exp(np.cumsum(np.log1p(-betas))), rtol=1e-12)
    assert len(schedule) == 1000


@given(
    timesteps=st.integers(2, 1200),
    start=st.floats(1e-5, 1e-2),
    end=st.floats(1e-2, 0.1),
)
def test_signal_fades_and_diffusers_agrees(timesteps, start, end):
    settings = DiffusionSettings(timesteps=timesteps, beta_start=start, beta_end=end)
    abar = NoiseSchedule.from_settings(settings).alphas_cumprod
    assert (abar.diff() < 0).all()
    assert 0 < abar[-1] < abar[0] < 1
    for name in ("ddpm", "ddim", "dpm++", "unipc"):
        scheduler_class, fields = _SCHEDULERS[name]
        theirs = scheduler_class(num_train_timesteps=timesteps, beta_start=start, beta_end=end, **fields)
        torch.testing.assert_close(theirs.alphas_cumprod.double(), abar, rtol=1e-3, atol=1e-6)
        assert torch.equal(make_scheduler(name, settings, 1).alphas_cumprod, abar)


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm++", "unipc"])
def test_every_field_is_set_and_none_left_to_a_default_for_images(name):
    scheduler_class, fields = _SCHEDULERS[name]
    parameters = set(inspect.signature(scheduler_class.__init__).parameters) - {"self"}
    assert parameters == set(fields) | {"num_train_timesteps", "beta_start", "beta_end"}
    config = make_scheduler(name, PAPER, 20).config
    assert config.prediction_type == "sample"
    assert not config.get("clip_sample", False)
    assert not config.thresholding


def test_ancestral_steps_are_eq_3_with_the_posterior_variance():
    schedule = NoiseSchedule.from_settings(PAPER)
    random = torch.Generator().manual_seed(0)
    x_t, x0 = (torch.randn(2, 1, 4, 4, 4, generator=random) * 5 for _ in range(2))
    for t in (999, 998, 500, 10, 1, 0):
        scheduler = make_scheduler("ddpm", PAPER, 1000)
        generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        stepped = scheduler.step(x0, t, x_t, generator=generators, return_dict=False)[0]
        noise = torch.stack([torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(s)) for s in (1, 2)])
        exact = posterior(x0.double(), x_t.double(), torch.tensor([t, t]), schedule)
        expected = exact.mean + exact.variance.sqrt() * noise
        torch.testing.assert_close(stepped.double(), expected, atol=1e-5, rtol=1e-5)


def test_paper_sampling_visits_every_timestep_once():
    assert make_scheduler("ddpm", PAPER, 1000).timesteps.tolist() == list(range(999, -1, -1))


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm++", "unipc"])
@pytest.mark.parametrize("steps", [1, 2, 5, 10, 20, 50, 100, 250, 500, 1000])
def test_steps_start_at_pure_noise_and_fall(name, steps):
    timesteps = make_scheduler(name, PAPER, steps).timesteps.tolist()
    assert len(timesteps) == resolve_steps(name, PAPER, steps)
    assert timesteps[0] == 999
    assert all(later <= earlier for earlier, later in pairwise(timesteps))


@given(steps=st.integers(1, 1000), name=st.sampled_from(["ddpm", "dpm++", "unipc"]))
def test_any_number_of_steps_is_taken_exactly(steps, name):
    assert len(make_scheduler(name, PAPER, steps).timesteps) == resolve_steps(name, PAPER, steps)


def test_usual_steps():
    usual = {name: resolve_steps(name, PAPER, None) for name in ("ddpm", "ddim", "dpm++", "unipc")}
    assert usual == {"ddpm": 1000, "ddim": 50, "dpm++": 20, "unipc": 20}
    short = DiffusionSettings(timesteps=12)
    assert [resolve_steps(name, short, None) for name in ("ddpm", "ddim", "dpm++")] == [12, 12, 11]
    odd = DiffusionSettings(timesteps=77)  # ddim takes the largest divisor that is not above 50
    assert resolve_steps("ddim", odd, None) == 11


def test_solvers_stop_one_short_of_all_timesteps():
    assert resolve_steps("dpm++", PAPER, 1000) == 999
    assert resolve_steps("unipc", PAPER, 1000) == 999


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm++", "unipc"])
@pytest.mark.parametrize("steps", [-1, 0, 1001])
def test_impossible_step_counts_are_refused(name, steps, refuses):
    with refuses(RequestError, f"{steps} steps", "choose 1 to 1000"):
        make_scheduler(name, PAPER, steps)


def test_ddim_names_the_nearest_divisors(refuses):
    with refuses(RequestError, "300 steps", "ddim", "250 and 500"):
        make_scheduler("ddim", PAPER, 300)


def test_schedulers_are_never_shared():
    assert make_scheduler("dpm++", PAPER, 20) is not make_scheduler("dpm++", PAPER, 20)
