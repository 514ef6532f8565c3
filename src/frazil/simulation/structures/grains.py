"""Parametric particles made of Gaussian grains.

The lobes of one asymmetric unit are filled with grains on a lattice and repeated by the point group, so the symmetry is
exact. A Gaussian's integral over a voxel is closed (erf), so mass is right on any voxel size; a grain touches few voxels,
so a particle costs as much as it has grains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation
from scipy.special import erf

from frazil.core.seeds import numpy_generator

Symmetry = Literal["C1", "C2", "C6", "D2", "D4", "D7", "O", "I"]

Triple = tuple[float, float, float]

_SIGMA_TO_SPACING = 0.6  # grains this soft lie on a lattice without ripple
_REACH = 3.3  # sigmas beyond which a Gaussian is cut off
_WAVES = 48
_CHUNK = 2_000_000  # voxels that are touched at once


@dataclass(frozen=True)
class Lobe:
    """An ellipsoid of evenly spread mass.

    Parameters
    ----------
    center_angstrom : zyx, before the particle is centered on its mass.
    semi_axes_angstrom : zyx; an ellipsoid thinner than a grain is a single grain.
    mass_density : relative to protein; RNA is about 1.4.
    """

    center_angstrom: Triple
    semi_axes_angstrom: Triple = (0.0, 0.0, 0.0)
    mass_density: float = 1.0

    def semi_axes(self, spacing_angstrom: float) -> Float[np.ndarray, "3"]:
        """Return the semi-axes, each at least that of one grain."""
        return np.maximum(self.semi_axes_angstrom, spacing_angstrom / 2)

    def volume(self, spacing_angstrom: float) -> float:
        """Return the volume, cubic angstrom."""
        return float(4 / 3 * np.pi * np.prod(self.semi_axes(spacing_angstrom)))

    def holds(self, points: Float[np.ndarray, "n 3"], spacing_angstrom: float) -> Bool[np.ndarray, "n"]:
        """Return which points lie inside."""
        offset = (points - np.asarray(self.center_angstrom)) / self.semi_axes(spacing_angstrom)
        return np.asarray(np.einsum("ni,ni->n", offset, offset) <= 1)

    def fill(self, spacing_angstrom: float) -> Float[np.ndarray, "n 3"]:
        """Return lattice points inside, moved together or apart a little so that their cells fill the volume."""
        semi_axes = self.semi_axes(spacing_angstrom)
        reach = np.floor(semi_axes / spacing_angstrom).astype(int)
        steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
        points = steps * spacing_angstrom
        points = points[((points / semi_axes) ** 2).sum(axis=1) <= 1]
        cell = self.volume(spacing_angstrom) / len(points)
        return np.asarray(points * (cell ** (1 / 3) / spacing_angstrom) + np.asarray(self.center_angstrom))


@dataclass(frozen=True)
class GrainModel:
    """A particle that can be drawn on any grid.

    Parameters
    ----------
    radius_angstrom : radius for scoring; goes into the project's config.
    mass_kda : integral of the density.
    symmetry : point group; rotation axes of C and D groups along z (and y, x), of O along all three.
    lobes : one asymmetric unit; the origin of the particle is its center of mass. Where lobes overlap, the mass density is
        their mean and not their sum.
    grain_spacing_angstrom : of the lattice; the grains' sigma is 0.6 of it.
    granularity : standard deviation of the logarithm of the mass density inside: domains, helices and clefts.
    grain_size_angstrom : over which the mass density inside keeps its value.
    size_spread, patchiness, contents_kda : as in `StructureSettings`.
    """

    center_offset_angstrom: ClassVar[Triple] = (0.0, 0.0, 0.0)  # it is centered on its mass

    label: str
    radius_angstrom: float
    mass_kda: float
    symmetry: Symmetry
    lobes: tuple[Lobe, ...]
    grain_spacing_angstrom: float = 8.5
    granularity: float = 0.2
    grain_size_angstrom: float = 22.0
    size_spread: float = 0.0
    patchiness: float = 0.0
    contents_kda: float = 0.0

    @cached_property
    def grains(self) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
        """Centers (zyx, angstrom) and masses (kDa) of all grains."""
        spacing = self.grain_spacing_angstrom
        copies = symmetry_rotations(self.symmetry)
        unit = [lobe.fill(spacing) for lobe in self.lobes]
        centers = np.concatenate(unit)
        counts = [len(points) for points in unit]
        cells = [lobe.mass_density * (lobe.volume(spacing) / n) for lobe, n in zip(self.lobes, counts, strict=True)]
        masses = np.repeat(cells, counts) / self._coverage(centers, copies) * self._texture(centers)
        centers = np.einsum("gij,nj->gni", copies, centers).reshape(-1, 3)
        masses = np.tile(masses, len(copies))
        centers = centers - np.average(centers, axis=0, weights=masses)  # C1 and C2 do not fix the center
        return centers, masses * (self.mass_kda / masses.sum())

    @property
    def sigma_angstrom(self) -> float:
        """Standard deviation of a grain."""
        return _SIGMA_TO_SPACING * self.grain_spacing_angstrom

    @cached_property
    def support_radius_angstrom(self) -> float:
        """Radius beyond which the density is zero."""
        return float(np.linalg.norm(self.grains[0], axis=1).max()) + 3**0.5 * _REACH * self.sigma_angstrom

    def density(
        self,
        shape_voxel: tuple[int, int, int],
        voxel_size_angstrom: float,
        *,
        rotation: Float[np.ndarray, "3 3"] | None = None,
        center_voxel: Sequence[float] | None = None,
    ) -> Float[np.ndarray, "z y x"]:
        """Return the mass density over ice, averaged over each voxel: dalton per cubic angstrom, float32.

        The particle is rotated (object -> grid, acting on zyx vectors; any linear map, so that it can be stretched too), and its
        center of mass put at `center_voxel`, zyx, fractions allowed; None is the box center N // 2.
        """
        centers, masses = self.grains
        if rotation is not None:
            centers = centers @ np.asarray(rotation).T
        middle = [edge // 2 for edge in shape_voxel] if center_voxel is None else center_voxel
        density = np.zeros(shape_voxel, dtype=np.float32)
        centers_voxel = centers / voxel_size_angstrom + np.asarray(middle)
        sigmas_voxel = np.full(len(masses), self.sigma_angstrom / voxel_size_angstrom)
        add_gaussians(density, centers_voxel, 1000 * masses / voxel_size_angstrom**3, sigmas_voxel)
        return density

    def _coverage(self, points: Float[np.ndarray, "n 3"], copies: Float[np.ndarray, "g 3 3"]) -> Float[np.ndarray, "n"]:
        """Count the lobes, with their symmetric copies, that hold each point: each gives its share of the density."""
        count = np.zeros(len(points))
        for copy in copies:
            turned = points @ copy  # the inverse rotation of the points instead of the rotation of the lobes
            for lobe in self.lobes:
                count += lobe.holds(turned, self.grain_spacing_angstrom)
        return np.maximum(count, 1)

    def _texture(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Return a lognormal random field, always the same: a sum of plane waves of Gaussian distributed frequencies."""
        generator = numpy_generator(0, "texture", self.label)
        correlation_angstrom = self.grain_size_angstrom / 2.355
        waves = generator.normal(scale=1 / correlation_angstrom, size=(3, _WAVES))
        phases = generator.uniform(0, 2 * np.pi, size=_WAVES)
        field = np.sqrt(2 / _WAVES) * np.cos(points @ waves + phases).sum(axis=1)
        return np.asarray(np.exp(self.granularity * field))


def add_gaussians(
    density: Float[np.ndarray, "z y x"],
    centers_voxel: Float[np.ndarray, "n 3"],
    masses: Float[np.ndarray, "n"],
    sigmas_voxel: Float[np.ndarray, "n"],
) -> None:
    """Add Gaussians to the C-contiguous `density`, in place; each voxel gets the integral over it.

    Masses are in the unit of `density` times voxels. What falls outside is lost.
    """
    if not len(masses):
        return
    reach = _REACH * float(sigmas_voxel.max())
    window = int(np.ceil(2 * reach)) + 1
    chunk = max(1, _CHUNK // window**3)
    flat = density.reshape(-1)
    for start in range(0, len(masses), chunk):
        part = slice(start, start + chunk)
        first = np.rint(centers_voxel[part] - reach).astype(np.int64)[:, :, None]
        index = first + np.arange(window)
        borders = first + (np.arange(window + 1) - 0.5) - centers_voxel[part, :, None]
        # The share of a unit Gaussian that each voxel of a window about its center has, axis by axis.
        share = np.diff(erf(borders / (np.sqrt(2.0) * sigmas_voxel[part, None, None])), axis=2)
        share /= share.sum(axis=2, keepdims=True)
        share[:, 0] *= masses[part, None]
        for axis, edge in enumerate(density.shape):
            outside = (index[:, axis] < 0) | (index[:, axis] >= edge)
            share[:, axis][outside] = 0
            index[:, axis][outside] = 0
        z, y, x = index.transpose(1, 0, 2)
        rows = z[:, :, None] * density.shape[1] + y[:, None, :]
        places = rows[..., None] * density.shape[2] + x[:, None, None, :]
        share = share.astype(np.float32)
        values = share[:, 0, :, None, None] * share[:, 1, None, :, None] * share[:, 2, None, None, :]
        np.add.at(flat, places.reshape(-1), values.reshape(-1))


def symmetry_rotations(symmetry: Symmetry) -> Float[np.ndarray, "g 3 3"]:
    """Return the rotations of a point group, acting on zyx vectors."""
    group: Any = symmetry  # scipy's stubs do not know all groups
    matrices = np.asarray(Rotation.create_group(group).as_matrix())
    return matrices[:, ::-1, ::-1]  # xyz -> zyx
