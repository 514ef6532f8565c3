"""What all structures share: how one is asked for, and what counts as its solid body, which excludes everything else."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field

from frazil.core.settings import Settings
from frazil.volume.solid import with_cavities

PROTEIN_DALTON_PER_CUBIC_ANGSTROM = 0.81  # mass density of folded protein: 1.35 g/cm^3 (field knowledge)
# Potential over ice of a dalton of protein: (8.0 - 4.6) V at 0.81 Da/A^3; RNA comes within a tenth of it.
VOLT_ANGSTROM3_PER_DALTON = 4.2


class StructureSettings(Settings):
    """One structure of a preset, or of `--structure`.

    Picks are at the center of mass, which need not be the middle of a map's box or the origin of a model: a pick at p with
    rotation R has that middle (voxel N // 2) or origin at p - R `center_offset_angstrom`, an attribute of the structure.

    Parameters
    ----------
    label : class name; the built-in structure of that label if there is no `source`.
    source : density map (.mrc, .map) or atoms (.cif, .pdb, also .gz); None takes the built-in structure.
    mass_kda : None takes the mass of the atoms; without atoms that of the built-in structure of the same label, also for a
        map; else the volume of the map above its contour times protein's 0.81 Da/A^3.
    radius_angstrom : for scoring; None takes that of the built-in structure, or the enclosing radius.
    contrast : of a map; ``white`` if the particle is brighter than its surroundings.
    voxel_size_angstrom : of a map whose header lacks it or is wrong.
    assembly : name of a biological assembly of an atomic model; None takes the atoms as they are.
    distractor : in the ice, but not annotated.
    size_spread : by which standard deviation the size along each of its axes differs from particle to particle, as a share:
        shells and flexible particles are never quite alike. None is that of the built-in structure, or 0.
    patchiness : standard deviation of the logarithm of the density in patches of 40 A that differ from particle to particle: shells
        look blotchy. Mass and mask stay.
    contents_kda : mass in the cavity of a hollow particle beyond that of the structure, in patches and most along its walls: RNA.
    """

    label: str
    source: str | None = None
    mass_kda: float | None = Field(None, gt=0)
    radius_angstrom: float | None = Field(None, gt=0)
    contrast: Literal["auto", "white", "black"] = "auto"
    voxel_size_angstrom: float | None = Field(None, gt=0)
    assembly: str | None = None
    distractor: bool = False
    size_spread: float | None = Field(None, ge=0, le=0.2)
    patchiness: float = Field(0.0, ge=0, le=2)
    contents_kda: float = Field(0.0, ge=0)


def solid_body(density: Float[np.ndarray, "z y x"], voxel_size_angstrom: float) -> Bool[np.ndarray, "z y x"]:
    """Return the voxels that count as the particle, from its mass density, dalton per cubic angstrom.

    The body has more than a third of protein's density, or of its own highest density if blur leaves less. A cavity that
    opens only by pores narrower than 28 A belongs to it: nothing else can be inside a ferritin.
    """
    return with_cavities(dense_voxels(density), voxel_size_angstrom)


def dense_voxels(density: Float[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z y x"]:
    """Return the voxels of a particle that hold matter: its solid body but for cavities."""
    contour = min(PROTEIN_DALTON_PER_CUBIC_ANGSTROM, float(density.max())) / 3
    return np.asarray(density > max(contour, 1e-6))
