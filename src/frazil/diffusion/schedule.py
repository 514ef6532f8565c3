"""The noise schedule in closed form, and the samplers' schedulers. The only importer of diffusers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from frazil.errors import RequestError

if TYPE_CHECKING:
    from jaxtyping import Float64
    from torch import Tensor

    from frazil.settings import DiffusionSettings, SamplerName


@dataclass(frozen=True)
class NoiseSchedule:
    """The variances of the forward process, beta linear in t (the paper; Ho et al. 2020).

    Parameters
    ----------
    betas : `(T,)` variance added by step t.
    alphas_cumprod : `(T,)` abar_t, the share of the signal's variance that is left after step t.
    """

    betas: Float64[Tensor, "T"]
    alphas_cumprod: Float64[Tensor, "T"]

    @classmethod
    def from_settings(cls, settings: DiffusionSettings) -> NoiseSchedule:
        """Compute the schedule in float64 on the CPU."""
        betas = torch.linspace(settings.beta_start, settings.beta_end, settings.timesteps, dtype=torch.float64)
        return cls(betas, torch.cumprod(1 - betas, dim=0))

    def __len__(self) -> int:
        return int(self.betas.shape[0])


# Every field is named, because the defaults of diffusers are those of images: they clip x0 to [-1, 1], and a z-scored
# tomogram reaches -13. `from_config` across classes would bring such defaults back.
_UNCLIPPED = {
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "sample",  # the network predicts x0
    "thresholding": False,
    "dynamic_thresholding_ratio": 1.0,
    "sample_max_value": float("inf"),
    "timestep_spacing": "trailing",  # starts from pure noise, t = T - 1
    "steps_offset": 0,
    "rescale_betas_zero_snr": False,
}
_NO_FLOW = {
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_flow_sigmas": False,
    "flow_shift": 1.0,
    "use_dynamic_shifting": False,
    "time_shift_type": "exponential",
    "final_sigmas_type": "zero",  # the last step ends at the clean volume
    "lower_order_final": True,
}
_SCHEDULERS: dict[SamplerName, tuple[type, dict[str, Any]]] = {
    "ddpm": (
        DDPMScheduler,
        # "fixed_small" is the posterior variance of eq. 3, not beta
        {**_UNCLIPPED, "clip_sample": False, "clip_sample_range": 1.0, "variance_type": "fixed_small"},
    ),
    "ddim": (
        DDIMScheduler,
        # alpha of the step after the last is 1: the last step ends at the clean volume
        {**_UNCLIPPED, "clip_sample": False, "clip_sample_range": 1.0, "set_alpha_to_one": True},
    ),
    "dpm++": (
        DPMSolverMultistepScheduler,
        {
            **_UNCLIPPED,
            **_NO_FLOW,
            "solver_order": 2,
            "algorithm_type": "dpmsolver++",
            "solver_type": "midpoint",
            "euler_at_final": False,
            "use_karras_sigmas": False,
            "use_lu_lambdas": True,  # even steps in log-SNR keep the variance of voxel noise at 10-20 steps
            "lambda_min_clipped": -float("inf"),
            "variance_type": None,
        },
    ),
    "unipc": (
        UniPCMultistepScheduler,
        {
            **_UNCLIPPED,
            **_NO_FLOW,
            "solver_order": 2,
            "solver_type": "bh2",
            "predict_x0": True,
            "disable_corrector": [],
            "solver_p": None,
            "use_karras_sigmas": True,
            "sigma_min": None,
            "sigma_max": None,
            "shift_terminal": None,
        },
    ),
}
_USUAL_STEPS: dict[SamplerName, int] = {"ddim": 50, "dpm++": 20, "unipc": 20}


def resolve_steps(sampler: SamplerName, settings: DiffusionSettings, steps: int | None) -> int:
    """Return how many network evaluations a sampler takes.

    Parameters
    ----------
    steps : as asked for; None is all timesteps for ``ddpm`` (the paper), 50 for ``ddim``, 20 for the two others.

    Raises
    ------
    RequestError : not between 1 and T, or no divisor of T for ``ddim``.
    """
    timesteps = settings.timesteps
    if steps is None:
        steps = timesteps if sampler == "ddpm" else min(_USUAL_STEPS[sampler], timesteps)
        if sampler == "ddim":
            steps = max(divisor for divisor in _divisors(timesteps) if divisor <= steps)
    if not 1 <= steps <= timesteps:
        raise RequestError(f"{steps} steps: the bundle's noise schedule has {timesteps}; choose 1 to {timesteps}")
    if sampler == "ddim" and timesteps % steps:
        below = max(divisor for divisor in _divisors(timesteps) if divisor < steps)
        above = min(divisor for divisor in _divisors(timesteps) if divisor > steps)
        raise RequestError(
            f"{steps} steps: ddim needs a divisor of the {timesteps} timesteps; the nearest are {below} and {above}"
        )
    if sampler in ("dpm++", "unipc"):
        steps = min(steps, timesteps - 1)  # with all T the solver divides by a log-SNR step of zero
    return steps


def make_scheduler(name: SamplerName, settings: DiffusionSettings, steps: int) -> Any:
    """Return a fresh diffusers scheduler with its timesteps set; schedulers carry state, so never share one.

    Parameters
    ----------
    name : ``ddpm`` is ancestral sampling by eq. 3; ``ddim`` is Song et al. 2021 with eta 0; ``dpm++`` is
        DPM-Solver++(2M), Lu et al. 2022; ``unipc`` is Zhao et al. 2023.
    steps : network evaluations, see `resolve_steps`.

    Raises
    ------
    RequestError : a step count that the sampler cannot take.
    """
    scheduler_class, fields = _SCHEDULERS[name]
    scheduler = scheduler_class(
        num_train_timesteps=settings.timesteps, beta_start=settings.beta_start, beta_end=settings.beta_end, **fields
    )
    # in the float32 of diffusers, 1 - abar is off by a thousandth at small t
    scheduler.alphas_cumprod = NoiseSchedule.from_settings(settings).alphas_cumprod
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # NumPy on diffusers
        scheduler.set_timesteps(resolve_steps(name, settings, steps))
    if name in ("dpm++", "unipc"):
        scheduler.set_begin_index(0)  # two steps may round to the same t; count them instead of looking t up
    return scheduler


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
