"""Samplers' steps against the closed form in float64, where they stand, and what each can be asked for."""

import warnings
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import RequestError
from frazil.core.settings import DiffusionSettings, SamplerName
from frazil.diffusion.schedule import make_solver, noise_levels, resolve_steps
from frazil.model.noise import NoiseSchedule

PAPER = DiffusionSettings()
SAMPLERS = get_args(SamplerName)
ABAR = NoiseSchedule.from_settings(PAPER).alphas_cumprod


def random_volumes(count):
    random = torch.Generator().manual_seed(0)
    return [torch.randn(2, 1, 4, 4, 4, generator=random) * 5 for _ in range(count)]


def begun(noise, x0):
    """The first volumes are noise alone: other schemes want the signal that the schedule leaves at its last timestep in them, too."""
    return noise + ABAR[-1].sqrt().float() * x0


def test_noise_levels_are_the_closed_form():
    betas = 1e-4 + (2e-2 - 1e-4) * np.arange(1000) / 999
    abar = np.exp(np.cumsum(np.log1p(-betas)))
    np.testing.assert_allclose(noise_levels(PAPER), np.sqrt(1 / abar - 1), rtol=1e-10)
    assert noise_levels(PAPER)[[0, -1]] == pytest.approx([0.01, 157.4], rel=1e-3)


FIELDS = {
    "beta_start": PAPER.beta_start,
    "beta_end": PAPER.beta_end,
    "solver_order": 2,
    "prediction_type": "sample",
    "final_sigmas_type": "zero",
}
OF_DIFFUSERS = {
    "dpm++": lambda: DPMSolverMultistepScheduler(**FIELDS, algorithm_type="dpmsolver++"),
    "sde-dpm++": lambda: DPMSolverMultistepScheduler(**FIELDS, algorithm_type="sde-dpmsolver++"),
}


@pytest.mark.parametrize("name", OF_DIFFUSERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 12, 50, 1000])
def test_second_order_steps_are_those_of_diffusers(name, steps):
    solver, scheduler = make_solver(name, PAPER, steps), OF_DIFFUSERS[name]()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        scheduler.set_timesteps(steps)
    scheduler.timesteps = torch.tensor(solver.timesteps)
    scheduler.sigmas = torch.from_numpy(np.append(solver.sigmas, 0.0))
    scheduler.set_begin_index(0)
    (x,), predictions, noises = random_volumes(1), random_volumes(steps), random_volumes(steps)
    theirs = begun(x, predictions[0])
    for timestep, x0, noise in zip(solver.timesteps, predictions, noises, strict=True):
        x = solver.step(x0, x, noise if solver.draws_noise else None)
        options = {"variance_noise": noise} if solver.draws_noise else {}
        theirs = scheduler.step(x0, timestep, theirs, **options).prev_sample
        torch.testing.assert_close(x, theirs, atol=2e-5, rtol=1e-5)


@given(timesteps=st.integers(2, 1200), share=st.floats(0, 1), name=st.sampled_from(SAMPLERS))
def test_any_number_of_steps_falls_from_pure_noise_without_a_repetition(timesteps, share, name):
    settings = DiffusionSettings(timesteps=timesteps)
    steps = 1 + round(share * (timesteps - 1))
    solver = make_solver(name, settings, steps)
    assert len(solver.timesteps) == steps
    assert solver.timesteps[0] == timesteps - 1
    assert all(earlier > later for earlier, later in pairwise(solver.timesteps))
    assert solver.timesteps[-1] >= 0
    np.testing.assert_array_equal(solver.sigmas, noise_levels(settings)[solver.timesteps])


@pytest.mark.parametrize("name", SAMPLERS)
def test_all_steps_are_every_timestep_once(name):
    assert make_solver(name, PAPER, 1000).timesteps == list(range(999, -1, -1))


@pytest.mark.parametrize("name", ["ddpm", "ddim"])
def test_even_in_time(name):
    assert make_solver(name, PAPER, 4).timesteps == [999, 749, 499, 249]


@pytest.mark.parametrize("name", ["dpm++", "sde-dpm++"])
@pytest.mark.parametrize("steps", [5, 10, 20, 30])
def test_even_in_log_snr_as_nearly_as_whole_timesteps_allow(name, steps):
    solver = make_solver(name, PAPER, steps)
    assert solver.timesteps[-1] == 0
    log_sigmas = np.log(noise_levels(PAPER))
    even = np.linspace(log_sigmas[-1], log_sigmas[0], steps)
    gaps = np.maximum(np.diff(log_sigmas, prepend=-np.inf), np.diff(log_sigmas, append=np.inf))  # to the neighbors
    apart = np.abs(np.log(solver.sigmas) - even)
    assert (apart[1:-1] <= gaps[solver.timesteps][1:-1]).all()
    assert apart[solver.sigmas > 0.3].max() < 0.02  # where timesteps are dense


def test_ancestral_steps_are_eq_3_with_the_posterior_variance():
    x_t, x0, noise = random_volumes(3)
    betas = NoiseSchedule.from_settings(PAPER).betas
    for t in (999, 998, 500, 10, 1, 0):
        solver = make_solver("ddpm", PAPER, 1000)
        solver._number = 999 - t
        noisy = begun(x_t, x0) if t == 999 else x_t
        expected = posterior(x0, noisy, noise, betas[t], ABAR[t], ABAR[t - 1] if t else torch.tensor(1.0))
        torch.testing.assert_close(solver.step(x0, x_t, noise).double(), expected, atol=1e-5, rtol=1e-5)


def posterior(x0, x_t, noise, beta, abar, abar_before):
    """Draw from q(x_{t-1} | x_t, x0): eq. 3 of the paper, Ho et al. 2020 eq. 7."""
    mean = (abar_before.sqrt() * beta * x0.double() + (1 - beta).sqrt() * (1 - abar_before) * x_t.double()) / (1 - abar)
    return mean + ((1 - abar_before) / (1 - abar) * beta).sqrt() * noise


@pytest.mark.parametrize("steps", [3, 37, 64, 999])
def test_longer_ancestral_steps_are_the_posterior_between_their_timesteps(steps):
    """Ho et al. eq. 7 for the chain that stands at these timesteps alone: beta is 1 - abar_t / abar_s."""
    x, x0, noise = random_volumes(3)
    solver = make_solver("ddpm", PAPER, steps)
    s = solver.timesteps[1]
    abar_t, abar_s = ABAR[999], ABAR[s]
    expected = posterior(x0, begun(x, x0), noise, 1 - abar_t / abar_s, abar_t, abar_s)
    torch.testing.assert_close(solver.step(x0, x, noise).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 3, 37, 300, 1000])
def test_ddim_steps_are_those_of_song_et_al(steps):
    """Eq. 12 with eta 0, for step counts that do not divide T too."""
    x, *predictions = random_volumes(4)
    solver = make_solver("ddim", PAPER, steps)
    abars = torch.cat([ABAR[solver.timesteps], torch.ones(1)]).double()
    expected = begun(x, predictions[0]).double()
    for abar, abar_next, x0 in zip(abars, abars[1:], predictions, strict=False):
        noise = (expected - abar.sqrt() * x0) / (1 - abar).sqrt()
        expected = abar_next.sqrt() * x0 + (1 - abar_next).sqrt() * noise
        x = solver.step(x0, x)
        torch.testing.assert_close(x.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_noise_is_demanded_exactly_where_it_is_used(name):
    solver = make_solver(name, PAPER, 4)
    (x,) = random_volumes(1)
    assert solver.draws_noise == (name in ("ddpm", "sde-dpm++"))
    with pytest.raises(TypeError, match="noise is"):
        solver.step(x, x, None if solver.draws_noise else x)


def test_usual_steps():
    usual = {name: resolve_steps(name, PAPER, None) for name in SAMPLERS}
    assert usual == {
        "ddpm": 1000,
        "ddim": 50,
        "dpm++": 20,
        "sde-dpm++": 30,
        "distilled": 4,
    }
    short = DiffusionSettings(timesteps=12)
    assert {resolve_steps(name, short, None) for name in SAMPLERS if usual[name] > 12} == {12}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [-1, 0, 1001])
def test_impossible_step_counts_are_refused(name, steps, refuses):
    with refuses(RequestError, f"{steps} steps", "choose 1 to 1000"):
        make_solver(name, PAPER, steps)
