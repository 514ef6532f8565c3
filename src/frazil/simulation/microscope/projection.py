"""Projection and weighted back-projection of a slab that goes on sideways, in the mixed space of heights and in-plane frequencies.

A parallel beam at tilt theta about y adds up the planes of a slab, each moved by ``z tan(theta)`` along x. To the Fourier
coefficients of the planes a move is a phase, so a projection is one weighted sum over the planes for each ``(ky, kx)``, and
back-projection is its adjoint with a ramp. Together they are one transfer function, a sum over the tilts of the lines
``kz = kx tan(theta)``, each as wide as the slab is thin. It has as few terms as there are tilts, so it is never written out: two
matrix products a frequency, between one two-dimensional transform of all planes each way. Nothing goes on periodically along z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from frazil.simulation.microscope.optics import CorrectionSettings

_SIRT_STEP_VOXEL = 0.00195
_COLUMNS = 32  # frequencies along x at a time: bounds the memory of rearranged spectra


def image_frequencies(
    shape_voxel: Sequence[int], voxel_size_angstrom: float, tilts_degrees: Sequence[float]
) -> Float[Tensor, "tilt ky kx"]:
    """Return the squared spatial frequency in the image of each tilt, 1 / angstrom^2.

    A coefficient at ``kx`` of the tomogram stands at ``kx / cos(theta)`` in the tilted image.
    """
    _, height, width = shape_voxel
    ky = torch.fft.fftfreq(height, dtype=torch.float64)[None, :, None]
    kx = torch.fft.rfftfreq(width, dtype=torch.float64)[None, None, :]
    cosine = torch.tensor([math.cos(math.radians(tilt)) for tilt in tilts_degrees], dtype=torch.float64)[:, None, None]
    squared: Tensor = (ky**2 + (kx / cosine) ** 2) / voxel_size_angstrom**2
    return squared


def back_projection_weights(width_voxel: int, tilts_degrees: Sequence[float]) -> Float[Tensor, "tilt kx"]:
    """Return the ramp of weighted back-projection for each tilt, with the angle that the tilt stands for.

    ``|kx| / cos(theta)^2 * dtheta``: once because a tilted image is foreshortened in the tomogram, once because its own
    frequency is higher. Tilts that cover all angles evenly then return the object. 0 where the image has no frequency as high.
    """
    kx = torch.fft.rfftfreq(width_voxel, dtype=torch.float64)
    ramp = kx.clamp(min=0.25 / width_voxel)  # the share of the zero frequency in a sampled ramp; 0 would lose it wholly
    cosines = [math.cos(math.radians(tilt)) for tilt in tilts_degrees]
    shares = _shares_radian(tilts_degrees)
    return torch.stack([share / c**2 * ramp * (kx <= 0.5 * c) for c, share in zip(cosines, shares, strict=True)])


def weighting_gain(
    shape_voxel: Sequence[int], voxel_size_angstrom: float, tilts_degrees: Sequence[float], settings: CorrectionSettings
) -> Float[Tensor, "tilt kx"]:
    """Return what another weighting than the ramp multiplies each image with, at the tomogram's frequencies along x.

    The exact filter is one over the number of tilts whose slabs in Fourier space, as thick as one over the thickness of the
    object, hold a coefficient (Harauz & van Heel, Optik 73, 146 (1986), eq. 12, with triangles). The filter of SIRT is
    ``1 - (1 - a / k)^n`` with a = 0.00195 voxel (Zeng, Med. Phys. 39, 603 (2012), eq. 8).
    """
    depth, _, width = shape_voxel
    asked = settings.exact_thickness_angstrom
    thickness = depth if asked is None else asked / voxel_size_angstrom
    tilts = torch.deg2rad(torch.tensor(tilts_degrees, dtype=torch.float64))
    frequency = torch.fft.rfftfreq(width, dtype=torch.float64).clamp(min=0.25 / width) / tilts.cos()[:, None]
    gain = torch.ones_like(frequency)
    if settings.weighting == "exact":
        apart = (tilts[:, None] - tilts).sin().abs()  # (tilt, other)
        overlap = (1 - thickness * frequency[:, None] * apart[..., None]).clamp(min=0).sum(dim=1)
        gain = 1 / (overlap * thickness * frequency * torch.tensor(_shares_radian(tilts_degrees))[:, None])
    elif settings.weighting == "sirt":
        gain = 1 - (1 - (_SIRT_STEP_VOXEL / frequency).clamp(max=1)) ** settings.sirt_iterations
    levels_off = voxel_size_angstrom / settings.level_off_angstrom
    gain *= (levels_off / frequency).clamp(max=1) ** settings.level_off
    return gain


def project(density: Float[Tensor, "z y x"], tilts_degrees: Sequence[float]) -> Complex[Tensor, "tilt ky kx"]:
    """Return the Fourier coefficients of the projections, summed over voxels along the beam.

    The density is periodic along y and x; the tilt axis (y) passes through its middle. Frequencies along x are those in the
    tomogram (in the image they are 1 / cos(theta) higher).
    """
    planes = torch.fft.rfftn(density, dim=(-2, -1))
    shifts = _plane_shifts(density.shape, tilts_degrees, planes.dtype)  # (tilt, z, kx)
    images = torch.empty(len(tilts_degrees), *planes.shape[1:], dtype=planes.dtype)
    for columns in _columns(planes.shape[-1]):
        slab = planes[..., columns].permute(2, 0, 1)  # (kx, z, ky)
        images[..., columns] = torch.matmul(shifts[..., columns].permute(2, 0, 1), slab).permute(1, 2, 0)
    return images


def back_project(
    images: Complex[Tensor, "tilt ky kx"], shape_voxel: Sequence[int], tilts_degrees: Sequence[float]
) -> Float[Tensor, "z y x"]:
    """Return the weighted back-projection of images given by their Fourier coefficients (`project`)."""
    depth, height, width = shape_voxel
    weights = back_projection_weights(width, tilts_degrees)
    shifts = _plane_shifts(shape_voxel, tilts_degrees, images.dtype).conj() * weights[:, None].to(images.real.dtype)
    planes = torch.empty(depth, *images.shape[1:], dtype=images.dtype)
    for columns in _columns(images.shape[-1]):
        views = images[..., columns].permute(2, 0, 1)  # (kx, tilt, ky)
        planes[..., columns] = torch.matmul(shifts[..., columns].permute(2, 1, 0), views).permute(1, 2, 0)
    volume: Tensor = torch.fft.irfftn(planes, s=(height, width), dim=(-2, -1))
    return volume


def _plane_shifts(
    shape_voxel: Sequence[int], tilts_degrees: Sequence[float], dtype: torch.dtype
) -> Complex[Tensor, "tilt z kx"]:
    """Return the phases that move each plane to where the beam of a tilt passes it."""
    depth, _, width = shape_voxel
    height = torch.arange(depth, dtype=torch.float64) - (depth - 1) / 2
    kx = torch.fft.rfftfreq(width, dtype=torch.float64)
    tangent = torch.tensor([math.tan(math.radians(tilt)) for tilt in tilts_degrees], dtype=torch.float64)
    phase = -2 * math.pi * tangent[:, None, None] * height[:, None] * kx
    seen = torch.stack([kx <= 0.5 * math.cos(math.radians(tilt)) for tilt in tilts_degrees])
    return torch.polar(seen[:, None].double().expand_as(phase), phase).to(dtype)


def _shares_radian(tilts_degrees: Sequence[float]) -> list[float]:
    """Return the angle that each tilt stands for: half the way to its neighbors, the outermost as wide as their one neighbor."""
    if len(tilts_degrees) == 1:
        return [1.0]
    order = sorted(range(len(tilts_degrees)), key=lambda i: tilts_degrees[i])
    angles = [math.radians(tilts_degrees[i]) for i in order]
    gaps = [b - a for a, b in pairwise(angles)]
    shares = [gaps[0], *((a + b) / 2 for a, b in pairwise(gaps)), gaps[-1]]
    return [share for _, share in sorted(zip(order, shares, strict=True))]


def _columns(count: int) -> list[slice]:
    return [slice(start, min(start + _COLUMNS, count)) for start in range(0, count, _COLUMNS)]
