"""Parametric particles: size, mass, symmetry and coarse shape of the six species of the CZII phantom.

A particle is a cloud of Gaussian grains. The lobes of one asymmetric unit are filled with grains on a lattice and
repeated by the point group, so the symmetry is exact. Isotropic Gaussians are separable whatever the orientation: a
density costs one matrix product, and its integral over a voxel is closed (erf), so mass is right on any voxel size.

Sizes and masses are field knowledge (PDB entries of the species); radii for scoring are those of the CZII challenge.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from scipy.special import erf

from frazil.errors import SimulationError

Symmetry = Literal["C1", "C2", "D2", "O", "I"]

Triple = tuple[float, float, float]

_GRAIN_SPACING_ANGSTROM = 16.0
# Grains this soft lie on such a lattice without ripple, and edges are as soft as a denoised tomogram shows them.
_GRAIN_SIGMA_ANGSTROM = 9.6
_HALF_HEIGHT = 1.18  # of a Gaussian, in sigmas


@dataclass(frozen=True)
class Lobe:
    """An ellipsoid of evenly spread mass.

    Parameters
    ----------
    center_angstrom : zyx, before the particle is centred on its mass.
    semi_axes_angstrom : zyx; an ellipsoid thinner than a grain is a single grain.
    mass_density : relative to protein; RNA is about 1.4.
    """

    center_angstrom: Triple
    semi_axes_angstrom: Triple = (0.0, 0.0, 0.0)
    mass_density: float = 1.0


@dataclass(frozen=True)
class ParticleModel:
    """A particle that can be drawn on any grid.

    Parameters
    ----------
    label : class name.
    radius_angstrom : radius of the challenge's score; goes into the project's config.
    mass_kda : integral of the density.
    symmetry : point group; rotation axes of C2 and D2 along z (and y, x), of O along all three.
    lobes : one asymmetric unit; the origin of the particle is its centre of mass.
    """

    label: str
    radius_angstrom: float
    mass_kda: float
    symmetry: Symmetry
    lobes: tuple[Lobe, ...]

    @cached_property
    def grains(self) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
        """Centres (zyx, angstrom) and masses (kDa) of all grains."""
        unit = [_fill(lobe) for lobe in self.lobes]
        centers = np.concatenate(unit)
        masses = np.repeat([lobe.mass_density for lobe in self.lobes], [len(points) for points in unit])
        copies = symmetry_rotations(self.symmetry)
        centers = np.einsum("gij,nj->gni", copies, centers).reshape(-1, 3)
        masses = np.tile(masses, len(copies))
        centers = centers - np.average(centers, axis=0, weights=masses)  # C1 and C2 do not fix the centre by themselves
        return centers, masses * (self.mass_kda / masses.sum())

    @cached_property
    def solid_radius_angstrom(self) -> float:
        """Radius of the sphere about the centre that holds the body; bodies do not overlap if these spheres do not."""
        return float(np.linalg.norm(self.grains[0], axis=1).max()) + _HALF_HEIGHT * _GRAIN_SIGMA_ANGSTROM

    @cached_property
    def support_radius_angstrom(self) -> float:
        """Radius beyond which the density is nothing (less than a ten-thousandth of the mass)."""
        return float(np.linalg.norm(self.grains[0], axis=1).max()) + 4 * _GRAIN_SIGMA_ANGSTROM

    def density(
        self,
        shape_voxel: tuple[int, int, int],
        voxel_size_angstrom: float,
        *,
        rotation: Float[np.ndarray, "3 3"] | None = None,
        center_voxel: Sequence[float] | None = None,
    ) -> Float[np.ndarray, "z y x"]:
        """Return the mass density, dalton per cubic angstrom, averaged over each voxel.

        Parameters
        ----------
        shape_voxel : zyx.
        rotation : object -> grid, acting on zyx vectors; None leaves the particle as it is.
        center_voxel : zyx place of the particle's centre, fractions allowed; None is the box centre N // 2.
        """
        centers, masses = self.grains
        if rotation is not None:
            centers = centers @ np.asarray(rotation).T
        middle = [edge // 2 for edge in shape_voxel] if center_voxel is None else center_voxel
        centers_voxel = centers / voxel_size_angstrom + np.asarray(middle)
        sigma_voxel = _GRAIN_SIGMA_ANGSTROM / voxel_size_angstrom
        along_z, along_y, along_x = (
            _voxel_share(centers_voxel[:, axis], edge, sigma_voxel) for axis, edge in enumerate(shape_voxel)
        )
        planes = (along_z[:, :, None] * along_y[:, None, :]).reshape(len(masses), -1)
        dalton = 1000 * masses[:, None].astype(np.float32) * along_x
        density: np.ndarray = (planes.T @ dalton).reshape(shape_voxel) / np.float32(voxel_size_angstrom**3)
        return density


def symmetry_rotations(symmetry: Symmetry) -> Float[np.ndarray, "g 3 3"]:
    """Return the rotations of a point group, acting on zyx vectors."""
    if symmetry == "C1":
        return np.eye(3)[None]
    group: Any = symmetry  # scipy's stubs do not know C2 and D2
    matrices = np.asarray(Rotation.create_group(group).as_matrix())
    return matrices[:, ::-1, ::-1]  # xyz -> zyx


def find_models(labels: Iterable[str]) -> dict[str, ParticleModel]:
    """Return the built-in particles of these labels.

    Raises
    ------
    SimulationError : a label that is not built in.
    """
    labels = list(labels)
    unknown = [label for label in labels if label not in PARTICLES]
    if unknown:
        raise SimulationError(f"{', '.join(unknown)}: no such particle; choose from {', '.join(PARTICLES)}")
    return {label: PARTICLES[label] for label in labels}


def _fill(lobe: Lobe) -> Float[np.ndarray, "n 3"]:
    """Return lattice points inside the lobe."""
    semi_axes = np.maximum(lobe.semi_axes_angstrom, _GRAIN_SPACING_ANGSTROM / 2)
    reach = np.floor(semi_axes / _GRAIN_SPACING_ANGSTROM).astype(int)
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    points = steps * _GRAIN_SPACING_ANGSTROM
    inside = ((points / semi_axes) ** 2).sum(axis=1) <= 1
    return np.asarray(points[inside] + np.asarray(lobe.center_angstrom))


def _voxel_share(centers_voxel: Float[np.ndarray, "n"], edge: int, sigma_voxel: float) -> Float[np.ndarray, "n edge"]:
    """Return the share of a unit Gaussian at each centre that falls into each of `edge` voxels of a line."""
    borders = np.arange(edge + 1) - 0.5
    cumulative = erf((borders[None, :] - centers_voxel[:, None]) / (np.sqrt(2.0) * sigma_voxel)) / 2
    return np.asarray(np.diff(cumulative, axis=1), dtype=np.float32)


def _on_sphere(radius_angstrom: float, *directions: Triple) -> tuple[Lobe, ...]:
    """Return one grain in each direction (zyx, unit vectors)."""
    return tuple(Lobe((radius_angstrom * z, radius_angstrom * y, radius_angstrom * x)) for z, y, x in directions)


# Two grains for each of the 24 helix bundles, spread as evenly as the group allows.
_FERRITIN_UNIT: tuple[Triple, ...] = ((0.292, 0.622, 0.726), (0.344, -0.118, -0.932))
# The three quasi-equivalent subunits of a T = 3 capsid, spread as evenly as the group allows.
_CAPSID_UNIT: tuple[Triple, ...] = ((-0.229, 0.968, 0.098), (0.321, -0.376, 0.869), (-0.698, 0.031, 0.715))

_MODELS = (
    ParticleModel("apo-ferritin", 60, 480, "O", _on_sphere(50, *_FERRITIN_UNIT)),
    ParticleModel("beta-amylase", 65, 220, "D2", (Lobe((18, 26, 30), (22, 26, 28)), Lobe((20, 14, 50)))),
    ParticleModel(
        "beta-galactosidase",
        90,
        465,
        "D2",
        (Lobe((16, 28, 24), (24, 30, 28)), Lobe((14, 20, 58), (18, 24, 22)), Lobe((18, 52, 18))),
    ),
    ParticleModel(
        "ribosome",
        150,
        3200,
        "C1",
        (
            Lobe((-44, 0, 0), (80, 98, 104), 1.2),  # large subunit
            Lobe((-34, 84, 70), (24, 24, 46)),  # L1 stalk
            Lobe((-50, 44, -104), (22, 24, 38)),  # P stalk
            Lobe((50, -34, 6), (46, 84, 66), 1.3),  # body of the small subunit
            Lobe((58, 70, 10), (44, 48, 56), 1.3),  # its head
            Lobe((44, -108, -18), (26, 34, 30)),  # its foot
        ),
    ),
    ParticleModel(
        "thyroglobulin",
        130,
        660,
        "C2",
        (
            Lobe((2, 14, 24), (42, 40, 30)),
            Lobe((-20, -22, 58), (32, 36, 34)),
            Lobe((16, 8, 92), (26, 28, 24)),
        ),
    ),
    # Two layers of grains give the shell its thickness of about 30 A around a radius of 117 A.
    ParticleModel(
        "virus-like-particle", 135, 2800, "I", _on_sphere(110, *_CAPSID_UNIT) + _on_sphere(124, *_CAPSID_UNIT)
    ),
)

PARTICLES: dict[str, ParticleModel] = {model.label: model for model in _MODELS}
"""The built-in particles by label."""
