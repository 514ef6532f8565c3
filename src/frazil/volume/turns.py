"""Half turns: with the tilt axis along y, 180 degrees about z, y or x keep a symmetric missing wedge where it is.

A particle sits at voxel D/2 of its box, so a box is turned about that voxel and not about its middle: ``i`` goes to
``2 (D/2) - i``. In a box of even edge voxel 0 has no partner; it keeps its place, as in a periodic box, and so do
frequencies in FFT order.

Turning a box leaves its particle where it is in the tomogram, so its position (`Condition.position`) does not change. That
assumes that what surrounds a particle does not depend on the side: true deep inside the specimen, but not for a box that is
padded or shows the surface of the ice or the carbon, because the surface turns with the box. Such a box is a box of a tomogram
that was turned as a whole, about its middle, where the particle sits at `mirrored_position`: pass on both, or do not turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor

from frazil.core.records import TiltRange
from frazil.volume.wedge import check_tilt_range

Turn = Literal["identity", "x", "y", "z"]
TURNS: tuple[Turn, ...] = ("identity", "x", "y", "z")
"""No turn, and the axis of a turn by 180 degrees. An asymmetric tilt range keeps the wedge only under y."""

SIGNS: dict[Turn, tuple[int, int, int]] = {
    "identity": (1, 1, 1),
    "x": (-1, -1, 1),
    "y": (-1, 1, -1),
    "z": (1, -1, -1),
}
"""What a turn does to a zyx vector from voxel D/2."""

_SYMMETRIC_DEGREES = 0.5
"""Lowest and highest tilt may differ this much in magnitude: less than a tilt step, and less than the wedge's blurred edge."""


def wedge_turns(tilt_range_degrees: TiltRange | None) -> tuple[Turn, ...]:
    """Return the half turns that keep the missing wedge of a tilt series about y.

    Turns about x and z take a tilt to its negative, so they keep only a symmetric range. A turn about y takes every tilt to
    itself. A quarter turn about z, or any other turn, moves the wedge to where it is never found. A range that is not known
    is treated as asymmetric.
    """
    if tilt_range_degrees is None:
        return ("identity", "y")
    lowest, highest = check_tilt_range(tilt_range_degrees)
    return TURNS if abs(lowest + highest) <= _SYMMETRIC_DEGREES else ("identity", "y")


def draw_turns(count: int, turns: Sequence[Turn], random: np.random.Generator) -> list[Turn]:
    """Draw one of `turns`, all equally likely, for each of `count` volumes."""
    return [turns[index] for index in random.integers(len(turns), size=count)]


@overload
def turn_half(volume: Shaped[np.ndarray, "... z y x"], axis: Turn) -> Shaped[np.ndarray, "... z y x"]: ...
@overload
def turn_half(volume: Shaped[Tensor, "... z y x"], axis: Turn) -> Shaped[Tensor, "... z y x"]: ...
def turn_half(volume: Any, axis: Turn) -> Any:
    """Return a copy turned by 180 degrees about `axis` through voxel D/2. Exact: voxels move, none is interpolated.

    Edges may differ, each is turned about its own half.
    """
    edges = volume.shape[-3:]
    order = [
        np.arange(edge) if sign > 0 else (2 * (edge // 2) - np.arange(edge)) % edge
        for edge, sign in zip(edges, SIGNS[axis], strict=True)
    ]
    return volume[(..., *np.ix_(*order))]


def mirrored_position(
    position: Float[np.ndarray, "... 3"], turn: Turn, last_position: Float[np.ndarray, "... 3"]
) -> Float[np.ndarray, "... 3"]:
    """Return where a particle sits once its whole tomogram, and not only its box, has been turned about the middle.

    Positions are zyx, center in voxels divided by the edge of the tomogram, in [0, 1]; NaN, not known, stays. `last_position`
    is that of the last voxel, (N - 1) / N, which comes to lie where the first one was.
    """
    return np.where(np.array(SIGNS[turn]) > 0, position, np.clip(last_position - position, 0, 1))
