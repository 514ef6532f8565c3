"""What a student learns from its teacher: to do several steps at once (progressive distillation, Salimans & Ho 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from frazil.core.records import Condition
from frazil.core.settings import DiffusionSettings
from frazil.diffusion.sampler import HEIGHT_GUIDED_SIGMA, Network, guided_prediction
from frazil.diffusion.schedule import make_solver
from frazil.model.noise import NoiseSchedule

TEACHER_STEPS = 4
"""Steps of the teacher in one of the student."""


@dataclass(frozen=True)
class Distillation:
    """The noise levels of a student of so many evaluations, and the finer ones of its teacher.

    Parameters
    ----------
    timesteps : of the student, falling; after the last step volumes are clean.
    between : for each of them, the timesteps of the teacher from there to the next one, which is left out.
    """

    timesteps: tuple[int, ...]
    between: tuple[tuple[int, ...], ...]
    schedule: NoiseSchedule

    @classmethod
    def of(cls, settings: DiffusionSettings, evaluations: int) -> Distillation:
        """Divide the noise levels evenly in log-SNR."""
        steps = min(TEACHER_STEPS, settings.timesteps // evaluations)
        timesteps = make_solver("distilled", settings, evaluations).timesteps
        fine = make_solver("distilled", settings, evaluations * steps).timesteps
        between = [(first, *fine[steps * row + 1 : steps * (row + 1)]) for row, first in enumerate(timesteps)]
        return cls(tuple(timesteps), tuple(between), NoiseSchedule.from_settings(settings))

    def step_of(self, t: Int64[Tensor, "b"]) -> Int64[Tensor, "b"]:
        """Return which of the student's steps timesteps drawn evenly from all mean, all steps alike."""
        return t * len(self.timesteps) // len(self.schedule)

    def level(self, step: Int64[Tensor, "b"]) -> Int64[Tensor, "b"]:
        """Return the timestep at which a step of the student begins."""
        return torch.tensor(self.timesteps, device=step.device)[step]

    @torch.no_grad()
    def target(
        self,
        teacher: Network,
        x_t: Float[Tensor, "b 1 z y x"],
        step: Int64[Tensor, "b"],
        condition: Condition,
        guidance: float = 1.0,
        push: Float[Tensor, "b z"] | None = None,
    ) -> Float[Tensor, "b 1 z y x"]:
        """Return the clean volume that takes a student from `x_t` to where its teacher arrives, by one step of DDIM (their eq. 6).

        The teacher takes its steps by DPM-Solver++(2M) (Lu et al. 2022), guided if `guidance` is not 1, and by the height as `push` says
        (`guided_prediction`).
        """
        begin = end = self._alpha_sigma(step, 0)
        x, before = x_t, None
        for number in range(len(self.between[0])):
            now, end = self._alpha_sigma(step, number), self._alpha_sigma(step, number + 1)
            t = self._timestep(step, number)
            noisy = (now[1] > HEIGHT_GUIDED_SIGMA * now[0])[:, 0, 0, 0]
            x0 = guided_prediction(teacher, x, t, condition, guidance, None if push is None else push * noisy)
            ahead = x0
            if before is not None:  # the second order: go on as the prediction has changed
                ahead = x0 + _slope(before[1], now, end) * (x0 - before[0])
            x, before = _ddim(x, ahead, now, end), (x0, now)
        ratio = end[1] / begin[1]
        return (x - ratio * x_t) / (end[0] - ratio * begin[0])

    def _timestep(self, step: Int64[Tensor, "b"], number: int) -> Int64[Tensor, "b"]:
        return torch.tensor([row[number] for row in self.between], device=step.device)[step]

    def _alpha_sigma(self, step: Int64[Tensor, "b"], number: int) -> tuple[Tensor, Tensor]:
        """Return signal and noise of the teacher's level `number` in a step; the last is the beginning of the next, or clean."""
        if number < len(self.between[0]):
            abar = self.schedule.abar(self._timestep(step, number))
        else:
            following = torch.tensor((*self.timesteps[1:], 0), device=step.device)[step]
            abar = self.schedule.abar(following).where(step < len(self.timesteps) - 1, 1.0)
        return _column(abar.sqrt()), _column((1 - abar).sqrt())


def _column(values: Float[Tensor, "b"]) -> Float[Tensor, "b 1 1 1 1"]:
    return values.float()[:, None, None, None, None]


def _ddim(x: Tensor, x0: Tensor, now: Sequence[Tensor], end: Sequence[Tensor]) -> Tensor:
    """Return the volumes at another level, their noise kept (Song et al. 2021, eq. 12 with eta 0)."""
    ratio = end[1] / now[1]
    return ratio * x + (end[0] - ratio * now[0]) * x0


def _slope(before: Sequence[Tensor], now: Sequence[Tensor], end: Sequence[Tensor]) -> Tensor:
    """Return by which share of the last change the prediction goes on to the middle of a step, in log-SNR; 0 where it ends clean."""
    past, here = (torch.log(level[0] / level[1]) for level in (before, now))
    ahead = torch.log(end[0] / end[1].clamp(min=1e-12))
    return torch.where(end[1] > 0, 0.5 * (ahead - here) / (here - past), 0.0)
