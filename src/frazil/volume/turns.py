"""Half turns: with the tilt axis along y, 180 degrees about z, y or x keep a symmetric missing wedge where it is.

A particle sits at voxel D/2 of its box, so the turn is about that voxel and not about the middle of the box: ``i`` goes
to ``2 (D/2) - i``. In a box of even edge voxel 0 has no partner; it keeps its place, as in a periodic box, and so do
frequencies in FFT order.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from jaxtyping import Int64, Shaped
from torch import Tensor

from frazil.core.errors import ShapeError

Turn = Literal["identity", "x", "y", "z"]
TURNS: tuple[Turn, ...] = ("identity", "x", "y", "z")
"""No turn, and the axis of a turn by 180 degrees. An asymmetric tilt range keeps the wedge under y alone."""

SIGNS: dict[Turn, tuple[int, int, int]] = {
    "identity": (1, 1, 1),
    "x": (-1, -1, 1),
    "y": (-1, 1, -1),
    "z": (1, -1, -1),
}
"""What a turn does to a zyx vector from voxel D/2."""


@overload
def turn_half(volume: Shaped[np.ndarray, "... z y x"], axis: Turn) -> Shaped[np.ndarray, "... z y x"]: ...
@overload
def turn_half(volume: Shaped[Tensor, "... z y x"], axis: Turn) -> Shaped[Tensor, "... z y x"]: ...
def turn_half(volume: Any, axis: Turn) -> Any:
    """Return a copy turned by 180 degrees about `axis` through voxel D/2. Exact: voxels move, none is interpolated.

    Parameters
    ----------
    volume : `(..., z, y, x)` NumPy array or tensor, any unit; edges may differ, each is turned about its own half.
    axis : of the turn; ``identity`` copies.

    Raises
    ------
    ShapeError : fewer than three dimensions, or no such turn.
    """
    if volume.ndim < 3:
        raise ShapeError(f"a volume of shape {tuple(volume.shape)} cannot be turned; give it three axes (z, y, x)")
    if axis not in SIGNS:
        raise ShapeError(f"turn {axis!r}: no such axis; take one of {', '.join(TURNS)}")
    order = [_order(edge, sign) for edge, sign in zip(volume.shape[-3:], SIGNS[axis], strict=True)]
    return volume[(..., *np.ix_(*order))]


def _order(edge: int, sign: int) -> Int64[np.ndarray, "n"]:
    """Say from which voxel of an axis each voxel comes; its own inverse."""
    voxel = np.arange(edge)
    return voxel if sign > 0 else (2 * (edge // 2) - voxel) % edge
