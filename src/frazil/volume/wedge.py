"""The missing wedge: where in Fourier space a tilt series has measured.

The tilt axis is y and the beam runs along z. By the projection theorem the image at a tilt is the plane through the ky
axis on which ``kz = kx tan(tilt)``; a series of tilts measures the directions between its lowest and its highest plane.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from frazil.core.errors import SettingsError
from frazil.core.records import TiltRange


def check_tilt_range(tilt_range_degrees: TiltRange) -> TiltRange:
    """Return the tilt range if it is one, else raise SettingsError."""
    lowest, highest = tilt_range_degrees
    if not (math.isfinite(lowest) and math.isfinite(highest)) or max(abs(lowest), abs(highest)) > 90:
        raise SettingsError(f"tilt range {lowest:g},{highest:g}: a tilt beyond 90 degrees; keep both within -90 and 90")
    if lowest >= highest:
        raise SettingsError(f"tilt range {lowest:g},{highest:g}: lowest not below highest; write it as LOWEST,HIGHEST")
    return (lowest, highest)


def missing_wedge_mask(
    shape_voxel: Sequence[int], tilt_range_degrees: TiltRange, *, device: torch.device | str = "cpu"
) -> Bool[Tensor, "z y x"]:
    """Return where a tilt series about y has measured: True, in FFT order. A positive tilt turns z toward x.

    Edges may differ, directions are those of the specimen. The ky axis belongs to every tilt and is True.
    """
    lowest, highest = check_tilt_range(tilt_range_degrees)
    kz, _, kx = frequency_axes(shape_voxel, device=device)
    # The direction of a coefficient and of its conjugate differ by 180 degrees: fold to (-90, 90].
    direction = torch.rad2deg(torch.atan2(kz * torch.where(kx < 0, -1.0, 1.0), kx.abs()))
    tolerance = 1e-4  # the outermost tilts are measured too, whatever the rounding of atan2
    plane = (direction >= lowest - tolerance) & (direction <= highest + tolerance)
    plane |= (kz == 0) & (kx == 0)
    # The Nyquist coefficients of an even edge stand for both signs: measured if either is, so that volumes stay real.
    plane |= plane.flip(0, 2).roll((1, 1), (0, 2))
    return plane.expand(*shape_voxel).contiguous()


def frequency_axes(shape_voxel: Sequence[int], *, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
    """Return one axis of frequencies per dimension, in FFT order, shaped to broadcast against each other.

    For `(z, y, x)` they are `(z, 1, 1)`, `(y, 1)` and `(x,)`, in cycles per voxel, in [-0.5, 0.5).
    """
    axes = [torch.fft.fftfreq(edge, device=device) for edge in shape_voxel]
    return tuple(axis.view(-1, *[1] * after) for axis, after in zip(axes, reversed(range(len(axes))), strict=True))
