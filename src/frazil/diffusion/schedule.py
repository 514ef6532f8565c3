"""The samplers: their noise levels and their steps. The only module that imports diffusers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from jaxtyping import Float, Float64
from torch import Tensor

from frazil.core.errors import RequestError
from frazil.core.settings import DiffusionSettings, SamplerName
from frazil.model.noise import NoiseSchedule


def noise_levels(settings: DiffusionSettings) -> Float64[np.ndarray, "T"]:
    """Return sigma = sqrt((1 - abar) / abar) of every timestep: the noise's standard deviation if the data's is 1."""
    abar = NoiseSchedule.from_settings(settings).alphas_cumprod.numpy()
    return np.sqrt((1 - abar) / abar)  # type: ignore[no-any-return]


def _even_in_time(sigmas: Float64[np.ndarray, "T"], steps: int) -> list[int]:
    """Return timesteps at even distances, from T - 1 down ("trailing": the first step sees pure noise)."""
    timesteps = len(sigmas)
    return [(2 * timesteps * left + steps) // (2 * steps) - 1 for left in range(steps, 0, -1)]


def _even_in_log_snr(sigmas: Float64[np.ndarray, "T"], steps: int) -> list[int]:
    """Return timesteps from T - 1 to 0 at even distances in log sigma, as nearly as whole timesteps allow (Lu et al. 2022).

    diffusers' own `use_lu_lambdas` shows the network the rounded timestep, but steps from the sigma before rounding. Where
    sigma is small a timestep is a large step in log sigma, and the two disagree: at 50 steps the variance of voxel noise of
    standard deviation 0.05 falls short by 6 % instead of 3 %. Here both are those of the same timestep.
    """
    log_sigmas = np.log(sigmas)
    even = np.interp(np.linspace(log_sigmas[-1], log_sigmas[0], steps), log_sigmas, np.arange(len(sigmas)))
    # neighbors that fall on the same timestep are pushed apart, upwards, but not beyond the top
    place = np.arange(steps)[::-1]
    apart = np.maximum.accumulate((np.rint(even).astype(int) - place)[::-1])[::-1] + place
    return np.minimum(apart, len(sigmas) - 1 - np.arange(steps)).tolist()  # type: ignore[no-any-return]


_ALONE = Lock()


def _even_before_the_last(sigmas: Float64[np.ndarray, "T"], steps: int) -> list[int]:
    """Return timesteps at even distances in log sigma, of which the last does not begin at the lowest sigma but ends there."""
    return _even_in_log_snr(sigmas, min(steps + 1, len(sigmas)))[:steps]


# Every field is named, because the defaults of diffusers are those of images: some clip x0 to [-1, 1], and a z-scored
# tomogram reaches -13. `from_config` across classes would bring such defaults back.
_FIELDS: dict[str, Any] = {
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "sample",  # the network predicts x0
    "thresholding": False,
    "dynamic_thresholding_ratio": 1.0,
    "sample_max_value": float("inf"),
    "timestep_spacing": "trailing",  # overridden by `make_solver`
    "steps_offset": 0,
    "rescale_betas_zero_snr": False,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_flow_sigmas": False,
    "flow_shift": 1.0,
    "use_dynamic_shifting": False,
    "time_shift_type": "exponential",
    # The last step ends at the predicted clean volume. "sigma_min" would leave noise of standard deviation 0.01 in it.
    "final_sigmas_type": "zero",
    # UniPC divides by zero at the last step without it; the others take a first-order last step in any case
    "lower_order_final": True,
}
_DPM_SOLVER: dict[str, Any] = {
    **_FIELDS,
    "solver_type": "midpoint",  # "heun" doubles the excess of variance at 20 steps
    "euler_at_final": False,
    "use_lu_lambdas": False,
    "lambda_min_clipped": -float("inf"),
    "variance_type": None,
}
_UNIPC: dict[str, Any] = {
    **_FIELDS,
    "solver_order": 2,  # 3 has three times the error of 2 below 12 steps
    "solver_type": "bh2",  # "bh1" divides by zero at the last step
    "predict_x0": True,
    "disable_corrector": [],
    "solver_p": None,
    "sigma_min": None,
    "sigma_max": None,
    "shift_terminal": None,
}

_Places = Callable[[Float64[np.ndarray, "T"], int], list[int]]


@dataclass(frozen=True)
class _Recipe:
    """A sampler in terms of diffusers: class, fields but for the noise schedule, timesteps, usual steps (None is all timesteps)."""

    scheduler: type
    fields: dict[str, Any]
    timesteps: _Places
    usual_steps: int | None


def _dpm_solver(algorithm: str, order: int, timesteps: _Places, usual_steps: int | None) -> _Recipe:
    fields = {**_DPM_SOLVER, "algorithm_type": algorithm, "solver_order": order}
    return _Recipe(DPMSolverMultistepScheduler, fields, timesteps, usual_steps)


# DDPM's posterior (eq. 3 of the paper) and DDIM are the first-order members of the DPM-Solver++ family: the tests
# compare both with their closed forms. diffusers' own classes for them take the noise only from torch generators (DDPM), and
# only step counts that divide T (DDIM).
_RECIPES: dict[SamplerName, _Recipe] = {
    "ddpm": _dpm_solver("sde-dpmsolver++", 1, _even_in_time, None),
    "ddim": _dpm_solver("dpmsolver++", 1, _even_in_time, 50),
    "dpm++": _dpm_solver("dpmsolver++", 2, _even_in_log_snr, 20),
    "sde-dpm++": _dpm_solver("sde-dpmsolver++", 2, _even_in_log_snr, 30),
    "unipc": _Recipe(UniPCMultistepScheduler, _UNIPC, _even_in_log_snr, 20),
    "distilled": _dpm_solver("dpmsolver++", 1, _even_before_the_last, 4),
}


def resolve_steps(sampler: SamplerName, settings: DiffusionSettings, steps: int | None) -> int:
    """Return how many steps a sampler takes; every step is one network evaluation, or two if it is guided.

    If `steps` is None, all timesteps for ``ddpm`` (the paper), 50 for ``ddim``, 30 for ``sde-dpm++``, 20 for ``dpm++`` and ``unipc``:
    the fewest, by tens, that keep the variance of voxel noise within 5 % (docs/lab/performance.md); ``ddim`` never does. ``distilled``
    is for networks that were taught to do with few, 4 unless the bundle says otherwise.
    """
    timesteps = settings.timesteps
    if steps is None:
        return min(_RECIPES[sampler].usual_steps or timesteps, timesteps)
    if not 1 <= steps <= timesteps:
        raise RequestError(f"{steps} steps: the bundle's noise schedule has {timesteps}; choose 1 to {timesteps}")
    return steps


class Solver:
    """One run of a sampler from noise to clean volumes. It carries state: make a fresh one for every run.

    The network is evaluated at `timesteps`, falling from T - 1; `sigmas` are the `noise_levels` there.
    """

    def __init__(self, scheduler: Any, timesteps: list[int], sigmas: Float64[np.ndarray, "n"]) -> None:
        self.timesteps = timesteps
        self.sigmas = sigmas
        self.draws_noise = scheduler.config.get("algorithm_type") == "sde-dpmsolver++"
        self._scheduler = scheduler

    def step(
        self, x0_hat: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."], noise: Float[Tensor, "b ..."] | None = None
    ) -> Float[Tensor, "b ..."]:
        """Return the volumes at the next noise level; after the last step they are clean.

        `x0_hat` is what the network predicts from `x`; the noise is standard normal, and required exactly if `draws_noise`.
        """
        if self.draws_noise != (noise is not None):  # without it diffusers would take global random numbers
            raise TypeError(f"noise is {'required' if self.draws_noise else 'not for this sampler'}")
        options = {"variance_noise": noise} if self.draws_noise else {}
        place = self._scheduler.step_index or 0
        return self._scheduler.step(x0_hat, self.timesteps[place], x, return_dict=False, **options)[0]  # type: ignore[no-any-return]


class StepWeights(NamedTuple):
    """A step as a sum: of the volumes, the prediction from them, the prediction before that, and fresh noise."""

    x: float
    x0: float
    x0_before: float
    noise: float


def step_weights(name: SamplerName, settings: DiffusionSettings, steps: int | None = None) -> list[StepWeights]:
    """Return the steps of a sampler as sums, so that parts of a volume can be stepped on their own.

    The steps are linear, so they are taken on unit vectors. ``unipc`` corrects earlier steps, and has no such form.
    """
    if name == "unipc":
        raise RequestError("sampler unipc: its steps go back to earlier volumes; choose dpm++, which is as fast")
    solver = make_solver(name, settings, steps)
    x, even, odd, noise = torch.eye(4)
    weights = []
    for number in range(len(solver.timesteps)):
        now, before = (odd, even) if number % 2 else (even, odd)
        after = solver.step(now, x, noise if solver.draws_noise else None)
        weights.append(StepWeights(*(float(after @ unit) for unit in (x, now, before, noise))))
    return weights


def make_solver(name: SamplerName, settings: DiffusionSettings, steps: int | None = None) -> Solver:
    """Return a fresh solver.

    ``ddpm`` is ancestral sampling by eq. 3; ``ddim`` is Song et al. 2021 with eta 0; ``dpm++`` and ``sde-dpm++`` are
    DPM-Solver++(2M) and its stochastic form, Lu et al. 2022; ``unipc`` is Zhao et al. 2023; ``distilled`` is DDIM at the noise levels of a
    student (`frazil.diffusion.distillation`). For `steps` see `resolve_steps`.
    """
    recipe = _RECIPES[name]
    sigmas = noise_levels(settings)
    timesteps = recipe.timesteps(sigmas, resolve_steps(name, settings, steps))
    scheduler = recipe.scheduler(
        num_train_timesteps=settings.timesteps,
        beta_start=settings.beta_start,
        beta_end=settings.beta_end,
        **recipe.fields,
    )
    with _ALONE, warnings.catch_warnings():  # a thread that leaves it would end it for the others
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # NumPy on diffusers
        scheduler.set_timesteps(len(timesteps))
    scheduler.timesteps = torch.tensor(timesteps)
    scheduler.sigmas = torch.from_numpy(np.append(sigmas[timesteps], 0.0))  # its own float32 is off by 1e-3 at small t
    scheduler.set_begin_index(0)
    return Solver(scheduler, timesteps, sigmas[timesteps])
