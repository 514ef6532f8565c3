"""Augmentation that keeps the missing wedge: half turns, and crops that wander around the centre.

A box is turned about its own centre, voxel D/2, where its particle sits. The particle does not move in its tomogram, so its
position (`Condition.position`) stays what it was. That takes for granted that what surrounds a particle does not depend on
the side: true deep inside the specimen, not for a box that is padded or shows the surface of the ice or the carbon, because
the surface turns with the box. Such a box is one of a tomogram that was turned as a whole, about its middle, and there the
particle sits at `mirrored_position`: pass both on together, or do not turn the box.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped

from frazil.core.errors import ShapeError
from frazil.core.records import TiltRange
from frazil.volume.turns import SIGNS, TURNS, Turn, turn_half
from frazil.volume.wedge import check_tilt_range

SYMMETRIC_DEGREES = 0.5
"""Lowest and highest tilt may differ by so much in magnitude: less than a tilt step, and less than the wedge's blurred edge."""


def wedge_turns(tilt_range_degrees: TiltRange | None) -> tuple[Turn, ...]:
    """Return the half turns that keep the missing wedge of a tilt series about y.

    Turns about x and z take a tilt to its negative: they keep a symmetric range alone. A turn about y takes every tilt to
    itself. A quarter turn about z, or any other, moves the wedge to where it is never found.

    Parameters
    ----------
    tilt_range_degrees : lowest and highest tilt. None, not known, is treated as asymmetric.

    Raises
    ------
    SettingsError : not a tilt range.
    """
    if tilt_range_degrees is None:
        return ("identity", "y")
    lowest, highest = check_tilt_range(tilt_range_degrees)
    return TURNS if abs(lowest + highest) <= SYMMETRIC_DEGREES else ("identity", "y")


def draw_turns(count: int, turns: Sequence[Turn], random: np.random.Generator) -> list[Turn]:
    """Draw one of `turns` for each of `count` volumes, all equally often in the long run."""
    return [turns[index] for index in random.integers(len(turns), size=count)]


def turn_each(volumes: Shaped[np.ndarray, "n z y x"], turns: Sequence[Turn]) -> Shaped[np.ndarray, "n z y x"]:
    """Return a copy of `volumes`, each turned by its own half turn.

    Raises
    ------
    ShapeError : not one turn for each volume.
    """
    if len(volumes) != len(turns):
        raise ShapeError(f"{len(turns)} turns for {len(volumes)} volumes; give one for each")
    turned = np.empty_like(volumes)
    for row, turn in enumerate(turns):
        turned[row] = turn_half(volumes[row], turn)
    return turned


def mirrored_position(position: Float[np.ndarray, "... 3"], turn: Turn) -> Float[np.ndarray, "... 3"]:
    """Return where a particle sits once its tomogram, and not its box alone, has been turned about the tomogram's middle.

    Parameters
    ----------
    position : `(..., 3)` zyx, centre divided by the extent, in [0, 1]; NaN, not known, stays.
    """
    return np.where(np.array(SIGNS[turn]) > 0, position, 1 - position)


def crop_center(
    volumes: Shaped[np.ndarray, "... z y x"], edge_voxel: int, shift_voxel: Sequence[int] = (0, 0, 0)
) -> Shaped[np.ndarray, "... e e e"]:
    """Return the cube around voxel D/2, which comes to lie at voxel ``edge / 2``; a view.

    Parameters
    ----------
    volumes : `(..., z, y, x)`.
    edge_voxel : of the cube.
    shift_voxel : zyx, by which the cube is moved: its centre is then at ``D/2 + shift``.

    Raises
    ------
    ShapeError : the cube reaches beyond the volume.
    """
    starts = [edge // 2 + shift - edge_voxel // 2 for edge, shift in zip(volumes.shape[-3:], shift_voxel, strict=True)]
    ends = [start + edge_voxel for start in starts]
    if min(starts) < 0 or any(end > edge for end, edge in zip(ends, volumes.shape[-3:], strict=True)):
        raise ShapeError(
            f"a cube of {edge_voxel} voxels, moved by {tuple(map(int, shift_voxel))}, reaches beyond the volume of "
            f"{tuple(volumes.shape[-3:])}; take a smaller cube or move it less"
        )
    z, y, x = (slice(start, end) for start, end in zip(starts, ends, strict=True))
    return volumes[..., z, y, x]
