"""What makes a particle differ from others of its class: patches of more and less density, what it holds inside, what broke off."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt, gaussian_filter

from frazil.core.errors import SimulationError
from frazil.simulation.structures.structure import dense_voxels

_PATCH_ANGSTROM = 40.0  # full width at half maximum of the filter that makes patches of white noise
# RNA lies in strands and gaps, and more of it along the shell, which attracts it, than in the middle.
_CONTENTS_PATCHINESS = 1.0
_CONTENTS_FALLOFF_ANGSTROM = 40.0
_RAGGED_ANGSTROM = 15.0  # standard deviation of the plane along which a particle broke


def make_individual(
    density: Float[np.ndarray, "z y x"],
    solid: Bool[np.ndarray, "z y x"],
    voxel_size_angstrom: float,
    generator: np.random.Generator,
    *,
    label: str,
    patchiness: float = 0.0,
    contents_kda: float = 0.0,
) -> Float[np.ndarray, "z y x"]:
    """Return the mass density of one particle: the mass of the ideal one in patches, and contents in its cavities.

    The density is multiplied by a lognormal random field, `patchiness` the standard deviation of its logarithm, and keeps its
    integral. Contents, patchier still, go where the solid body (`solid_body`) is not dense itself, most along its walls.

    Raises
    ------
    SimulationError : contents for a particle without a cavity.
    """

    def patches(deviation: float) -> Float[np.ndarray, "z y x"]:
        return np.asarray(np.exp(deviation * _smooth_noise(density.shape, voxel_size_angstrom, generator)))

    uneven = density
    if patchiness:
        uneven = density * patches(patchiness)
        uneven *= density.sum() / uneven.sum()
    if contents_kda:
        cavity = solid & ~dense_voxels(density)
        if not cavity.any():
            raise SimulationError(
                f"{label}: {contents_kda:g} kDa of contents, but no cavity that could hold them in voxels of "
                f"{voxel_size_angstrom:g} A; give contents to hollow particles only"
            )
        inward_angstrom = distance_transform_edt(cavity) * voxel_size_angstrom
        contents = cavity * patches(_CONTENTS_PATCHINESS) * np.exp(-inward_angstrom / _CONTENTS_FALLOFF_ANGSTROM)
        uneven = uneven + contents * (1000 * contents_kda / voxel_size_angstrom**3 / contents.sum())
    return uneven


def broken_part(
    solid: Bool[np.ndarray, "z y x"], share: float, voxel_size_angstrom: float, generator: np.random.Generator
) -> Bool[np.ndarray, "z y x"]:
    """Return a part of a solid body with this share of its voxels: what lies on one side of a ragged plane."""
    direction = generator.standard_normal(3)
    direction *= voxel_size_angstrom / np.linalg.norm(direction)
    along = np.tensordot(direction, np.indices(solid.shape), axes=1)
    along += _RAGGED_ANGSTROM * _smooth_noise(solid.shape, voxel_size_angstrom, generator)
    return np.asarray(solid & (along <= np.quantile(along[solid], share)))


def _smooth_noise(
    shape: tuple[int, ...], voxel_size_angstrom: float, generator: np.random.Generator
) -> Float[np.ndarray, "z y x"]:
    """Return a Gaussian random field of standard deviation 1 that keeps its value over a patch."""
    white = generator.standard_normal(shape, dtype=np.float32)
    field = gaussian_filter(white, _PATCH_ANGSTROM / 2.355 / voxel_size_angstrom, mode="wrap")
    return np.asarray(field / field.std())
