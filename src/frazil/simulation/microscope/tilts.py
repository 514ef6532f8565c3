"""The tilt scheme: which tilts, in which order, and their random errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field, model_validator

from frazil.core.settings import Settings
from frazil.simulation.text import Pair

_MOST_TILTS = 10_000
_STEEPEST = 85  # a slab cannot be imaged edge-on

TiltOrder = Literal["dose-symmetric", "bidirectional", "one-way"]


class TiltSettings(Settings):
    """How the stage is tilted and the dose is spread.

    Parameters
    ----------
    range_degrees : lowest and highest tilt.
    step_degrees : between two tilts.
    order : ``dose-symmetric`` (0, +3, -3, +6, ...; Hagen et al. 2017), ``bidirectional`` (0 to the highest, then down) or
        ``one-way`` (lowest to highest). Late tilts carry the damage of the earlier ones.
    dose_e_per_angstrom2 : total dose, shared evenly by the tilts.
    shift_error_angstrom : standard deviation of the shift of each image that alignment leaves, along each of its two axes.
    angle_error_degrees : standard deviation of the error of each tilt angle. It shifts planes against each other; the image as
        a whole keeps its width, since it is aligned.
    """

    range_degrees: Pair = (-45.0, 45.0)
    step_degrees: float = 3.0
    order: TiltOrder = "dose-symmetric"
    dose_e_per_angstrom2: float = Field(63.0, gt=0, le=1_000_000)
    shift_error_angstrom: float = Field(0.0, ge=0, le=10_000)
    angle_error_degrees: float = Field(0.0, ge=0, le=90)

    @model_validator(mode="after")
    def _possible(self) -> TiltSettings:
        lowest, highest = self.range_degrees
        if not -_STEEPEST <= lowest < highest <= _STEEPEST:
            raise ValueError(
                f"tilt range {lowest:g},{highest:g}: write it as LOWEST,HIGHEST within -{_STEEPEST} and {_STEEPEST} degrees"
            )
        if not 0 < self.step_degrees <= highest - lowest:
            raise ValueError(
                f"tilt step {self.step_degrees:g}: make it above 0 and at most {highest - lowest:g}, the range"
            )
        if (highest - lowest) / self.step_degrees > _MOST_TILTS:
            raise ValueError(f"tilt step {self.step_degrees:g}: more than {_MOST_TILTS} tilts; make it larger")
        return self

    @property
    def angles_degrees(self) -> tuple[float, ...]:
        """All tilts, lowest first: a step that does not divide the range stops short of its end."""
        lowest, highest = self.range_degrees
        count = math.floor((highest - lowest) / self.step_degrees + 1e-6) + 1
        return tuple(lowest + i * self.step_degrees for i in range(count))


@dataclass(frozen=True)
class TiltSeries:
    """A tilt series, in the order of acquisition.

    The microscope reports `angles_degrees`, which reconstruction uses; the specimen was seen under the true ones. Shifts are
    those of each image after alignment, along the tilt axis and across it.
    """

    angles_degrees: Float[np.ndarray, "n"]
    true_angles_degrees: Float[np.ndarray, "n"]
    dose_before_e_per_angstrom2: Float[np.ndarray, "n"]
    dose_e_per_angstrom2: float
    shifts_angstrom: Float[np.ndarray, "n 2"]


def acquire(settings: TiltSettings, generator: np.random.Generator) -> TiltSeries:
    """Return a tilt series of this scheme: its order, its dose, its errors."""
    angles = np.asarray(order_tilts(settings.angles_degrees, settings.order))
    dose = settings.dose_e_per_angstrom2 / len(angles)
    errors = generator.standard_normal((len(angles), 3))
    true_angles = np.clip(angles + settings.angle_error_degrees * errors[:, 0], -_STEEPEST - 4, _STEEPEST + 4)
    return TiltSeries(
        angles_degrees=angles,
        true_angles_degrees=true_angles,
        dose_before_e_per_angstrom2=dose * np.arange(len(angles)),
        dose_e_per_angstrom2=dose,
        shifts_angstrom=settings.shift_error_angstrom * errors[:, 1:],
    )


def order_tilts(angles_degrees: tuple[float, ...], order: TiltOrder) -> list[float]:
    """Return the tilts in the order in which they are taken; dose-symmetric and bidirectional begin nearest to 0."""
    ascending = sorted(angles_degrees)
    if order == "one-way":
        return ascending
    first = min(ascending, key=abs)
    above = [angle for angle in ascending if angle > first]
    below = [angle for angle in reversed(ascending) if angle < first]
    if order == "bidirectional":
        return [first, *above, *below]
    alternating = (angle for pair in zip_longest(above, below) for angle in pair)
    return [first, *(angle for angle in alternating if angle is not None)]
