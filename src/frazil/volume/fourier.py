"""Frequency grids and the power at each radius of Fourier space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from frazil.core.errors import ShapeError


@dataclass(frozen=True)
class RadialPower:
    """Mean power on shells of Fourier space.

    Parameters
    ----------
    frequency : `(bins,)` mean radius of the coefficients of a shell, cycles per voxel.
    power : `(..., bins)` mean of ``|FFT|^2 / voxels``; white noise of variance s^2 has s^2 everywhere.
    count : `(bins,)` coefficients in a shell; ``(power * count).sum() / voxels`` is the voxels' mean square (Parseval).
    """

    frequency: Float[Tensor, "bins"]
    power: Float[Tensor, "... bins"]
    count: Int64[Tensor, "bins"]


def frequency_axes(shape_voxel: Sequence[int], *, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
    """Return one axis of frequencies a dimension, in FFT order, shaped to broadcast against each other.

    Parameters
    ----------
    shape_voxel : edges of the volume (or image, or line).

    Returns
    -------
    For `(z, y, x)`: frequencies of shape `(z, 1, 1)`, `(1, y, 1)`, `(1, 1, x)`, cycles per voxel, in [-0.5, 0.5).
    """
    dimensions = len(shape_voxel)
    return tuple(
        torch.fft.fftfreq(edge, device=device).reshape([-1 if i == axis else 1 for i in range(dimensions)])
        for axis, edge in enumerate(shape_voxel)
    )


def radial_frequency(shape_voxel: Sequence[int], *, device: torch.device | str = "cpu") -> Float[Tensor, "..."]:
    """Return the distance from frequency 0, cycles per voxel, in FFT order; 0.5 is Nyquist, corners reach beyond."""
    return sum((axis**2 for axis in frequency_axes(shape_voxel, device=device)), torch.zeros(())).sqrt()


def radial_power(values: Float[Tensor, "..."], *, dimensions: int, bins: int | None = None) -> RadialPower:
    """Return the mean power on shells of equal width.

    Parameters
    ----------
    values : `(..., z, y, x)` for 3 `dimensions`, `(..., y, x)` for 2; leading dimensions are kept.
    bins : shells between 0 and Nyquist (0.5 cycles per voxel); None takes half of the shortest edge. Shells of the
        same width go on into the corners, so that no power is lost.

    Raises
    ------
    ShapeError : `values` has fewer than `dimensions` dimensions.
    """
    if not 1 <= dimensions <= values.ndim:
        raise ShapeError(
            f"radial power over {dimensions} dimensions of a {values.ndim}-dimensional array; give it that many"
        )
    shape_voxel = values.shape[-dimensions:]
    bins = bins or max(min(shape_voxel) // 2, 1)
    radius = radial_frequency(shape_voxel, device=values.device).flatten()
    # Shells are centred on multiples of their width: the zero frequency stands with its half shell alone.
    shell = (radius * 2 * bins).round().long()
    count = torch.bincount(shell)
    spectrum = torch.fft.fftn(values, dim=tuple(range(-dimensions, 0)))
    power = spectrum.abs().square().flatten(-dimensions) / radius.numel()
    total = torch.zeros(*power.shape[:-1], len(count), dtype=power.dtype, device=power.device)
    total.scatter_add_(-1, shell.expand_as(power), power)
    frequency = torch.bincount(shell, weights=radius)
    filled = count.clamp(min=1)  # a long thin volume can leave a shell empty
    return RadialPower(frequency=frequency / filled, power=total / filled, count=count)
