"""What is in the ice besides particles: vesicles, gold beads, the edge of the carbon film, dissolved protein."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, UInt8
from pydantic import Field, model_validator
from scipy.ndimage import gaussian_filter1d

from frazil.core.errors import SimulationError
from frazil.core.settings import Settings
from frazil.simulation.specimen.inclusions import (
    BILAYER_HALF_ANGSTROM,
    CarbonFilm,
    FrostCrystal,
    GoldBead,
    Vesicle,
    box_around,
    norm,
)
from frazil.simulation.specimen.orientations import random_rotation
from frazil.simulation.specimen.packing import Slab
from frazil.simulation.structures.grains import add_gaussians
from frazil.simulation.structures.structure import PROTEIN_DALTON_PER_CUBIC_ANGSTROM
from frazil.simulation.text import Pair

_OBLATE = 1.12  # semi-axes of a vesicle differ from their mean by up to this factor
_ATTEMPTS = 400

_ROUGH_ANGSTROM = 25.0  # of the rim of a hole
_ROUGH_OVER_ANGSTROM = 200.0  # along the rim
_RIM_STEP_ANGSTROM = 50.0

_MG_PER_ML = 6.022e-4  # dalton per cubic angstrom
_DISSOLVED_KDA = 40.0  # median
_DISSOLVED_SPREAD = 0.6  # standard deviation of the logarithm
_BESIDE_ANGSTROM = 60.0
_THREAD_STEP_ANGSTROM = 45.0  # between neighbors in a thread of globules
_FROST_ANGSTROM = (80.0, 300.0)  # radius of a crystal
_FACET_PAIRS = 7


class SurroundingsSettings(Settings):
    """What is in the ice besides particles.

    Parameters
    ----------
    vesicles : how many closed bilayers.
    vesicle_radius_angstrom : smallest and largest, to the middle of the bilayer.
    gold_beads : how many fiducials.
    gold_bead_diameter_angstrom : of each.
    carbon_edge : whether the rim of the film's hole crosses the tomogram.
    carbon_thickness_angstrom : of the film, which lies at one face of the ice.
    hole_radius_angstrom : of the hole (R1.2/1.3 foils have holes of 1.2 micrometers).
    background_protein_mg_per_ml : dissolved protein, as small globules of some 40 kDa.
    background_clump : how many globules hang together on average, in bent threads and clumps as a lysate has them; 1 leaves
        each alone.
    broken_particles : at most how many pieces of particles of the classes that are in the ice; in no picks and masks.
    aggregates : at most how many clumps of two to four particles that touch each other; in no picks and masks either.
    ice_crystals : at most how many crystals of frost lie on the faces of the ice.
    """

    vesicles: int = Field(0, ge=0)
    vesicle_radius_angstrom: Pair = (150.0, 400.0)
    gold_beads: int = Field(0, ge=0)
    gold_bead_diameter_angstrom: float = Field(100.0, gt=0)
    carbon_edge: bool = False
    carbon_thickness_angstrom: float = Field(170.0, gt=0)
    hole_radius_angstrom: float = Field(6000.0, gt=0)
    background_protein_mg_per_ml: float = Field(0.0, ge=0, le=400)
    background_clump: float = Field(1.0, ge=1, le=100)
    broken_particles: int = Field(0, ge=0)
    aggregates: int = Field(0, ge=0)
    ice_crystals: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> SurroundingsSettings:
        smallest, largest = self.vesicle_radius_angstrom
        if not 2 * BILAYER_HALF_ANGSTROM <= smallest <= largest:
            thick = 2 * BILAYER_HALF_ANGSTROM
            raise ValueError(
                f"vesicle radius {smallest:g},{largest:g}: give the smaller first, and at least {thick:g} A, the thickness "
                "of a bilayer"
            )
        return self


def add_solid_things(
    density: Float[np.ndarray, "z y x"],
    settings: SurroundingsSettings,
    slab: Slab,
    voxel_size_angstrom: float,
    generator: np.random.Generator,
    membrane: UInt8[np.ndarray, "z y x"] | None = None,
) -> Bool[np.ndarray, "z y x"] | None:
    """Add vesicles, beads and film to `density`, in place; return where no particle can be, None if there is nothing.

    `membrane` becomes 1 where the bilayer of a vesicle is. Their density is that of protein that scatters as much. Dissolved protein
    comes last (`add_background`).
    """
    if not settings.vesicles + settings.gold_beads + settings.carbon_edge:
        return None
    solid = np.zeros(slab.shape_voxel, dtype=bool)
    if settings.carbon_edge:
        _draw_film(settings, slab, voxel_size_angstrom, generator).add_to(density, solid, voxel_size_angstrom)
    lowest, highest = slab.faces_voxel
    thickness = (highest - lowest) * voxel_size_angstrom * float(slab.normal[0])
    bead = GoldBead(np.zeros(3), settings.gold_bead_diameter_angstrom / 2)
    things: list[Vesicle | GoldBead] = [*_draw_vesicles(settings, thickness, generator), *[bead] * settings.gold_beads]
    placed: list[Vesicle | GoldBead] = []
    for thing in things:
        center = _free_place(thing.reach_angstrom, slab, placed, solid, voxel_size_angstrom, generator)
        if center is None:
            raise SimulationError(
                f"{settings.vesicles} vesicles and {settings.gold_beads} gold beads: room for {len(placed)} of them in "
                f"ice {thickness:g} A thick; ask for fewer or smaller ones, or for thicker ice"
            )
        placed.append(replace(thing, center_angstrom=center))
        placed[-1].add_to(density, solid, voxel_size_angstrom)
        if membrane is not None and isinstance(placed[-1], Vesicle):
            placed[-1].mark(membrane, voxel_size_angstrom)
    return solid


def _draw_film(
    settings: SurroundingsSettings, slab: Slab, voxel_size_angstrom: float, generator: np.random.Generator
) -> CarbonFilm:
    """Return a film at one face of the ice; its rim crosses the tomogram between the middle and the border."""
    extent = np.asarray(slab.shape_voxel[1:]) * voxel_size_angstrom
    direction = generator.uniform(0, 2 * np.pi)
    toward = np.array([np.sin(direction), np.cos(direction)])
    free = generator.uniform(0.25, 0.42) * float(np.abs(toward) @ extent)  # from the middle to the rim
    hole = extent / 2 - (settings.hole_radius_angstrom - free) * toward
    lowest, highest = (face * voxel_size_angstrom for face in slab.faces_voxel)
    thickness = min(settings.carbon_thickness_angstrom / float(slab.normal[0]), highest - lowest)  # along z
    bottom = lowest if generator.uniform() < 0.5 else highest - thickness
    rim_length = 2 * np.pi * settings.hole_radius_angstrom
    steps = max(16, int(rim_length / _RIM_STEP_ANGSTROM))
    rim = gaussian_filter1d(generator.standard_normal(steps), _ROUGH_OVER_ANGSTROM * steps / rim_length, mode="wrap")
    bottom -= float(slab.slope @ (extent - voxel_size_angstrom)) / 2  # from the middle to where y and x are 0
    rough = rim * (_ROUGH_ANGSTROM / rim.std())
    return CarbonFilm(hole, settings.hole_radius_angstrom, rough, bottom, bottom + thickness, slab.slope)


def add_background(
    density: Float[np.ndarray, "z y x"],
    solid: Bool[np.ndarray, "z y x"],
    mg_per_ml: float,
    voxel_size_angstrom: float,
    slab: Slab,
    generator: np.random.Generator,
    *,
    clump: float = 1.0,
) -> None:
    """Add dissolved protein to the ice, in place: globules of three grains each, as dense as protein, `clump` of them together.

    Solid things hold none, and the sum is no denser than protein.
    """
    masses, centers, bends = _draw_globules(mg_per_ml, voxel_size_angstrom, slab, generator, clump)
    nearest = np.rint(centers / voxel_size_angstrom).astype(np.int64)
    free = ~solid[tuple(np.clip(nearest, 0, np.asarray(solid.shape) - 1).T)]
    masses, centers, bends = masses[free], centers[free], bends[free]
    radii = np.cbrt(3 * masses / (4 * np.pi * PROTEIN_DALTON_PER_CUBIC_ANGSTROM))
    sigmas = 0.62 * radii / np.cbrt(3)  # a third of the mass in a Gaussian that is about as dense as protein
    # So far apart that the radius of gyration is that of a folded chain, 1.2 times that of a ball of the same mass; the
    # mean of three places takes a third of their variance.
    spread = 0.44 * radii / np.cbrt(3) * math.sqrt(1.5)
    grains = centers[:, None] + (bends - bends.mean(axis=1, keepdims=True)) * spread[:, None, None]
    centers_voxel = grains.reshape(-1, 3) / voxel_size_angstrom
    sigmas_voxel = np.repeat(sigmas, 3) / voxel_size_angstrom
    dissolved = np.zeros_like(density)
    add_gaussians(dissolved, centers_voxel, np.repeat(masses / 3, 3) / voxel_size_angstrom**3, sigmas_voxel)
    # Where grains and globules overlap they are as dense as protein; the rest of their mass goes to all of them.
    mass = float(dissolved.sum(dtype=np.float64))
    np.minimum(dissolved, np.float32(PROTEIN_DALTON_PER_CUBIC_ANGSTROM), out=dissolved)
    if mass > 0:
        dissolved *= np.float32(mass / float(dissolved.sum(dtype=np.float64)))
    room = np.maximum(dissolved.max() - density, 0)
    np.minimum(dissolved, room, out=dissolved)
    dissolved[solid] = 0
    density += dissolved


def add_frost(
    density: Float[np.ndarray, "z y x"],
    crystals: int,
    slab: Slab,
    voxel_size_angstrom: float,
    generator: np.random.Generator,
) -> None:
    """Add crystals of frost to the faces of the ice, in place. They are in the tomogram as far as it reaches beyond the ice."""
    for _ in range(crystals):
        radius, y, x = generator.uniform((_FROST_ANGSTROM[0], 0, 0), (_FROST_ANGSTROM[1], *slab.shape_voxel[1:]))
        below, above = slab.faces_at(y, x)
        z = generator.choice([below - 0.7 * radius / voxel_size_angstrom, above + 0.7 * radius / voxel_size_angstrom])
        facets = generator.standard_normal((_FACET_PAIRS, 3))
        facets /= np.linalg.norm(facets, axis=1, keepdims=True)
        distances = radius * generator.uniform(0.8, 1.2, 2 * _FACET_PAIRS)
        center = np.array([z, y, x]) * voxel_size_angstrom
        FrostCrystal(center, np.concatenate([facets, -facets]), distances).add_to(density, slab, voxel_size_angstrom)


def _draw_globules(
    mg_per_ml: float, voxel_size_angstrom: float, slab: Slab, generator: np.random.Generator, clump: float
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3 3"]]:
    """Return masses (dalton), centers (angstrom) and shapes of globules, evenly spread between the faces of the ice."""
    # The ice continues sideways, and globules there reach into the tomogram; above and below there is none.
    ends = [(-_BESIDE_ANGSTROM, edge * voxel_size_angstrom + _BESIDE_ANGSTROM) for edge in slab.shape_voxel[1:]]
    y, x = np.meshgrid(*(np.linspace(*pair, 65) for pair in ends))
    below, above = slab.faces_at(y / voxel_size_angstrom, x / voxel_size_angstrom)
    lowest = np.array([below.min() * voxel_size_angstrom, ends[0][0], ends[1][0]])
    highest = np.array([above.max() * voxel_size_angstrom, ends[0][1], ends[1][1]])
    dalton = mg_per_ml * _MG_PER_ML * float(np.prod(highest - lowest))
    count = max(1, round(dalton / (1000 * _DISSOLVED_KDA * math.exp(_DISSOLVED_SPREAD**2 / 2))))
    share = float(np.maximum(above - below, 0).mean() / (above.max() - below.min()))  # of the box, that is ice
    masses = np.exp(_DISSOLVED_SPREAD * generator.standard_normal(count).clip(-2, 2))
    centers = generator.uniform(lowest, highest, size=(count, 3))
    bends = generator.standard_normal((count, 3, 3))
    if clump > 1:
        centers = _threaded(centers, clump, generator)
    z, y, x = centers.T / voxel_size_angstrom
    below, above = slab.faces_at(y, x)
    inside = (below - 1e-6 <= z) & (z <= above + 1e-6)
    masses *= share * dalton / max(masses[inside].sum(), masses.min())
    return masses[inside], centers[inside], bends[inside]


def _threaded(
    centers: Float[np.ndarray, "n 3"], clump: float, generator: np.random.Generator
) -> Float[np.ndarray, "n 3"]:
    """Return places of globules that follow each other in bent threads, whose lengths are geometric with mean `clump`."""
    count = len(centers)
    first = np.r_[True, generator.uniform(size=count - 1) < 1 / clump]
    thread = np.cumsum(first) - 1
    along = generator.standard_normal((first.sum(), 3))[thread] + generator.standard_normal((count, 3))
    steps = _THREAD_STEP_ANGSTROM * along / np.linalg.norm(along, axis=1, keepdims=True)
    steps[first] = 0
    walked = np.cumsum(steps, axis=0)
    return np.asarray(centers[first][thread] + walked - walked[first][thread])


def _draw_vesicles(
    settings: SurroundingsSettings, thickness_angstrom: float, generator: np.random.Generator
) -> list[Vesicle]:
    """Return vesicles of random size and shape that fit between the faces of the ice, largest first, without a place."""
    smallest, largest = settings.vesicle_radius_angstrom
    largest = min(largest, (thickness_angstrom / 2 - BILAYER_HALF_ANGSTROM) / _OBLATE)
    if settings.vesicles and largest < smallest:
        raise SimulationError(
            f"vesicles of radius {smallest:g} A in ice {thickness_angstrom:g} A thick; give smaller ones, or thicker ice"
        )
    found = []
    for _ in range(settings.vesicles):
        semi_axes = generator.uniform(smallest, largest) * generator.uniform(1 / _OBLATE, _OBLATE, size=3)
        found.append(Vesicle(np.zeros(3), semi_axes, random_rotation(generator)))
    return sorted(found, key=lambda vesicle: -vesicle.reach_angstrom)


def _free_place(
    reach_angstrom: float,
    slab: Slab,
    placed: Sequence[Vesicle | GoldBead],
    solid: Bool[np.ndarray, "z y x"],
    voxel_size_angstrom: float,
    generator: np.random.Generator,
) -> Float[np.ndarray, "3"] | None:
    """Return a center between the faces of the ice with nothing solid within reach; None if none is found."""
    extent = np.asarray(solid.shape[1:]) * voxel_size_angstrom
    reach_along_z = reach_angstrom / float(slab.normal[0])
    for _ in range(_ATTEMPTS):
        height, (y, x) = generator.uniform(), generator.uniform(0, extent)
        below, above = (float(face) for face in slab.faces_at(y / voxel_size_angstrom, x / voxel_size_angstrom))
        lowest, highest = below * voxel_size_angstrom + reach_along_z, above * voxel_size_angstrom - reach_along_z
        if lowest > highest:
            continue
        center = np.array([lowest + height * (highest - lowest), y, x])
        distances = (np.linalg.norm(center - other.center_angstrom) - other.reach_angstrom for other in placed)
        if any(distance < reach_angstrom for distance in distances):
            continue
        box, offset = box_around(center, reach_angstrom, solid.shape, voxel_size_angstrom)
        if not (solid[box] & (norm(offset) < reach_angstrom)).any():
            return center
    return None
