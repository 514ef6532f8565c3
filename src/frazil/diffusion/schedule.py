"""The samplers: their noise levels and their steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
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

    A step begins at the sigma of the rounded timestep, which the network is told, not at the one before rounding: where sigma is small a
    timestep is a large step in log sigma, and at 50 steps the variance of voxel noise of standard deviation 0.05 would fall
    short by 6 % instead of 3 %.
    """
    log_sigmas = np.log(sigmas)
    even = np.interp(np.linspace(log_sigmas[-1], log_sigmas[0], steps), log_sigmas, np.arange(len(sigmas)))
    # neighbors that fall on the same timestep are pushed apart, upwards, but not beyond the top
    place = np.arange(steps)[::-1]
    apart = np.maximum.accumulate((np.rint(even).astype(int) - place)[::-1])[::-1] + place
    return np.minimum(apart, len(sigmas) - 1 - np.arange(steps)).tolist()  # type: ignore[no-any-return]


def _even_before_the_last(sigmas: Float64[np.ndarray, "T"], steps: int) -> list[int]:
    """Return timesteps at even distances in log sigma, of which the last does not begin at the lowest sigma but ends there."""
    return _even_in_log_snr(sigmas, min(steps + 1, len(sigmas)))[:steps]


_Places = Callable[[Float64[np.ndarray, "T"], int], list[int]]


@dataclass(frozen=True)
class _Recipe:
    """A member of the DPM-Solver++ family.

    Order 3 has three times the error of order 2 below 12 steps. The last step ends at the predicted clean volume: one to the lowest
    sigma would leave noise of standard deviation 0.01.

    Parameters
    ----------
    order : 1, or 2 for steps that go on as the prediction has changed; the first and the last step are of order 1.
    noisy : steps replace noise, as in DDPM, instead of keeping it.
    timesteps : where the network is evaluated.
    usual_steps : None is all timesteps.
    """

    order: int
    noisy: bool
    timesteps: _Places
    usual_steps: int | None


_RECIPES: dict[SamplerName, _Recipe] = {
    "ddpm": _Recipe(1, True, _even_in_time, None),
    "ddim": _Recipe(1, False, _even_in_time, 50),
    "dpm++": _Recipe(2, False, _even_in_log_snr, 20),
    "sde-dpm++": _Recipe(2, True, _even_in_log_snr, 30),
    "distilled": _Recipe(1, False, _even_before_the_last, 4),
}


def resolve_steps(sampler: SamplerName, settings: DiffusionSettings, steps: int | None) -> int:
    """Return how many steps a sampler takes; every step is one network evaluation, or two if it is guided.

    If `steps` is None, all timesteps for ``ddpm`` (the paper), 50 for ``ddim``, 30 for ``sde-dpm++``, 20 for the others:
    the fewest, by tens, that keep the variance of voxel noise within 5 % (docs/lab/performance.md); ``ddim`` never does. ``distilled``
    is for networks that were taught to do with few, 4 unless the bundle says otherwise.
    """
    timesteps = settings.timesteps
    if steps is None:
        return min(_RECIPES[sampler].usual_steps or timesteps, timesteps)
    if not 1 <= steps <= timesteps:
        raise RequestError(f"{steps} steps: the bundle's noise schedule has {timesteps}; choose 1 to {timesteps}")
    return steps


class StepWeights(NamedTuple):
    """A step as a sum: of the volumes, the prediction from them, the prediction before that, and new noise."""

    x: float
    x0: float
    x0_before: float
    noise: float


class Solver:
    """One run of a sampler from noise to clean volumes. It carries state: make a fresh one for every run.

    The network is evaluated at `timesteps`, falling from T - 1; `sigmas` are the `noise_levels` there. A step is a sum with `weights`.
    """

    def __init__(self, recipe: _Recipe, timesteps: list[int], sigmas: Float64[np.ndarray, "n"]) -> None:
        self.timesteps = timesteps
        self.sigmas = sigmas
        self.draws_noise = recipe.noisy
        levels = _Levels(sigmas)
        self.weights = [levels.step(number, recipe.order, recipe.noisy) for number in range(len(timesteps))]
        self._number = 0
        self._x0 = torch.empty(0)

    def step(
        self, x0_hat: Float[Tensor, "b ..."], x: Float[Tensor, "b ..."], noise: Float[Tensor, "b ..."] | None = None
    ) -> Float[Tensor, "b ..."]:
        """Return the volumes at the next noise level; after the last step they are clean.

        `x0_hat` is what the network predicts from `x`; the noise is standard normal, and required exactly if `draws_noise`.
        """
        if self.draws_noise != (noise is not None):
            raise TypeError(f"noise is {'required' if self.draws_noise else 'not for this sampler'}")
        weights, before = self.weights[self._number], self._x0
        self._number, self._x0 = self._number + 1, x0_hat
        after = x * weights.x + x0_hat * weights.x0
        if weights.x0_before:
            after.add_(before, alpha=weights.x0_before)
        return after if noise is None else after.add_(noise, alpha=weights.noise)


class _Levels:
    """The steps of DPM-Solver++ between noise levels, the last of which ends at the clean volume.

    With alpha and std, what is left of the clean volume and how much noise there is, and lambda = log(alpha / std), a step from s to
    t has the length h = lambda_t - lambda_s (Lu et al. 2022, "DPM-Solver++", algorithm 2, and their solvers of diffusion SDEs).
    """

    def __init__(self, sigmas: Float64[np.ndarray, "n"]) -> None:
        sigmas = np.append(sigmas, 0.0)
        self._alpha = 1 / np.sqrt(1 + sigmas**2)
        self._std = sigmas * self._alpha
        self._ratio = sigmas[1:] / sigmas[:-1]  # exp(-h)
        self._length = -np.log(self._ratio[:-1])  # of the last step it is infinite

    def step(self, number: int, order: int, draws_noise: bool) -> StepWeights:
        """Return the weights of a step.

        Where noise is drawn, the noise of the volumes is kept but for a share of exp(-h), and replaced by as much: with order 1 that
        is DDPM's posterior (Ho et al. 2020, eq. 7), and without noise DDIM (Song et al. 2021, eq. 12 with eta 0). What the first step
        begins with is noise alone, though the schedule leaves a trace of signal there (Lin et al. 2024): it is added as predicted.
        """
        alpha, std, ratio = self._alpha[number + 1], self._std[number + 1], self._ratio[number]
        kept = std / self._std[number]
        slope = self._slope(number) if order == 2 and 0 < number < len(self._ratio) - 1 else 0.0
        if draws_noise:
            kept, moved, noise = kept * ratio, alpha * (1 - ratio**2), std * math.sqrt(1 - ratio**2)
        else:
            moved, noise = alpha * (1 - ratio), 0.0
        if number == 0:
            moved += kept * self._alpha[0]
        return StepWeights(float(kept), float(moved * (1 + slope)), float(-moved * slope), float(noise))

    def _slope(self, number: int) -> float:
        """Return by how much of its last change the prediction goes on to change in the middle of a step.

        Heun's form of the step would double the excess of variance at 20 steps.
        """
        return float(self._length[number] / self._length[number - 1] / 2)


def make_solver(name: SamplerName, settings: DiffusionSettings, steps: int | None = None) -> Solver:
    """Return a fresh solver.

    ``ddpm`` is ancestral sampling by eq. 3; ``ddim`` is Song et al. 2021 with eta 0; ``dpm++`` and ``sde-dpm++`` are
    DPM-Solver++(2M) and its stochastic form, Lu et al. 2022; ``distilled`` is DDIM at the noise levels of a student
    (`frazil.diffusion.distillation`). For `steps` see `resolve_steps`.
    """
    recipe = _RECIPES[name]
    sigmas = noise_levels(settings)
    timesteps = recipe.timesteps(sigmas, resolve_steps(name, settings, steps))
    return Solver(recipe, timesteps, sigmas[timesteps])
