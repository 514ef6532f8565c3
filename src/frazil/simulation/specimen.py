"""The specimen: particles at random places and orientations in a slab of ice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from pydantic import BeforeValidator, ConfigDict, model_validator
from scipy.spatial.transform import Rotation

from frazil.errors import SimulationError
from frazil.settings import Settings
from frazil.simulation.structures import PARTICLES, ParticleModel, find_models

_ATTEMPTS = 10  # to fill the slab, before it counts as too small
_ROUNDS = 50  # of candidates for one particle
_CANDIDATES = 64


def split_numbers(value: Any) -> Any:
    """Split text such as ``64,256,256`` at its commas: settings read the same from a command line and a preset."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _count_by_label(value: Any) -> Any:
    """Read ``12`` (of every built-in particle) or ``ribosome=20,apo-ferritin=30``."""
    parts = str(value).split(",") if isinstance(value, (int, str)) else []
    if len(parts) == 1 and "=" not in parts[0]:
        return dict.fromkeys(PARTICLES, parts[0].strip())
    pairs = [part.partition("=") for part in parts]
    labels = [label.strip() for label, _, _ in pairs]
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise SimulationError(f"particles {value}: {', '.join(repeated)} named twice; name each particle once")
    return {label: count.strip() for label, (_, _, count) in zip(labels, pairs, strict=True)} or value


class SpecimenSettings(Settings):
    """What is in the ice.

    Parameters
    ----------
    shape_voxel : zyx shape of a tomogram.
    voxel_size_angstrom : edge of a voxel; must be finer than the radius of the smallest particle.
    particles_per_class : how many of each particle; one number stands for all built-in particles.
    ice_thickness_angstrom : thickness of the slab, in the middle of the tomogram; None fills the tomogram.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    shape_voxel: Annotated[tuple[int, int, int], BeforeValidator(split_numbers)] = (128, 256, 256)
    voxel_size_angstrom: float = 10.0
    particles_per_class: Annotated[dict[str, int], BeforeValidator(_count_by_label)] = dict.fromkeys(PARTICLES, 12)
    ice_thickness_angstrom: float | None = None

    @model_validator(mode="after")
    def _possible(self) -> SpecimenSettings:
        if min(self.shape_voxel) < 8:
            raise SimulationError(
                f"shape {_joined(self.shape_voxel)}: an edge is too short; make every edge at least 8"
            )
        if not self.voxel_size_angstrom > 0:
            raise SimulationError(
                f"voxel size {self.voxel_size_angstrom:g} A: not above 0; give a voxel's edge in angstrom"
            )
        if not self.particles_per_class:
            raise SimulationError("particles: none named; name at least one particle")
        models = find_models(self.particles_per_class).values()
        for label, count in self.particles_per_class.items():
            if count < 1:
                raise SimulationError(f"{label}: {count} particles; ask for at least 1 or do not name it")
        smallest = min(models, key=lambda model: model.radius_angstrom)
        if self.voxel_size_angstrom > smallest.radius_angstrom:
            raise SimulationError(
                f"voxel size {self.voxel_size_angstrom:g} A: coarser than {smallest.label}, whose radius is "
                f"{smallest.radius_angstrom:g} A; use a finer voxel or leave that particle out"
            )
        thickness = self.ice_thickness_angstrom
        if thickness is not None and not 0 < thickness <= self.shape_voxel[0] * self.voxel_size_angstrom:
            raise SimulationError(
                f"ice {thickness:g} A thick in a tomogram of {self.shape_voxel[0] * self.voxel_size_angstrom:g} A; "
                "make it above 0 and at most as thick as the tomogram"
            )
        return self


@dataclass(frozen=True)
class PlacedParticles:
    """All particles of one class in a specimen.

    Parameters
    ----------
    model : what they look like.
    centers_angstrom : `(n, 3)` zyx, from the centre of voxel (0, 0, 0).
    rotations : `(n, 3, 3)` object -> tomogram, acting on zyx vectors.
    """

    model: ParticleModel
    centers_angstrom: Float[np.ndarray, "n 3"]
    rotations: Float[np.ndarray, "n 3 3"]


def place_particles(settings: SpecimenSettings, generator: np.random.Generator) -> list[PlacedParticles]:
    """Place every particle wholly inside the ice, so that no two solid bodies overlap, in uniform random orientations.

    The largest particles go first: the small ones find room between them.

    Raises
    ------
    SimulationError : the ice is too thin for a particle, or full before all are placed.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return _place_once(settings, generator)
        except SimulationError:
            continue  # the first particles lay badly; begin with an empty slab
    return _place_once(settings, generator)


def specimen_density(
    placed: list[PlacedParticles], shape_voxel: tuple[int, int, int], voxel_size_angstrom: float
) -> Float[np.ndarray, "z y x"]:
    """Return the mass density of the particles over the ice, dalton per cubic angstrom, float32.

    Each particle is drawn in a box that just holds it, so the cost grows with the particles and not with the tomogram.
    """
    density = np.zeros(shape_voxel, dtype=np.float32)
    for particles in placed:
        reach = particles.model.support_radius_angstrom / voxel_size_angstrom
        for center, rotation in zip(particles.centers_angstrom / voxel_size_angstrom, particles.rotations, strict=True):
            start = np.maximum(np.floor(center - reach).astype(int), 0)
            stop = np.minimum(np.ceil(center + reach).astype(int) + 1, shape_voxel)
            box = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
            z, y, x = (int(edge) for edge in stop - start)
            density[box] += particles.model.density(
                (z, y, x), voxel_size_angstrom, rotation=rotation, center_voxel=(center - start).tolist()
            )
    return density


def _place_once(settings: SpecimenSettings, generator: np.random.Generator) -> list[PlacedParticles]:
    """Place the particles one by one, never moving one that is placed."""
    counts = settings.particles_per_class
    models = sorted(find_models(counts).values(), key=lambda model: (-model.solid_radius_angstrom, model.label))
    lowest, highest = _ice(settings)
    centers = np.empty((0, 3))
    radii = np.empty(0)
    placed: list[PlacedParticles] = []
    for model in models:
        radius = model.solid_radius_angstrom
        count = counts[model.label]
        for done in range(count):
            center = _free_place(lowest + radius, highest - radius, centers, radii + radius, generator)
            if center is None:
                raise SimulationError(_no_room(settings, model.label, done, count))
            centers = np.concatenate([centers, center[None]])
            radii = np.append(radii, radius)
        # A normal quaternion points in a uniform random direction, so its rotation is uniform.
        rotations = np.asarray(Rotation.from_quat(generator.normal(size=(count, 4))).as_matrix())
        placed.append(PlacedParticles(model, centers[-count:], rotations))
    return sorted(placed, key=lambda particles: particles.model.label)


def _ice(settings: SpecimenSettings) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Return the lower and upper corner of the ice, zyx, angstrom from the centre of voxel (0, 0, 0)."""
    extent = np.asarray(settings.shape_voxel) * settings.voxel_size_angstrom
    lowest, highest = np.zeros(3), extent.copy()
    if settings.ice_thickness_angstrom is not None:
        lowest[0] = (extent[0] - settings.ice_thickness_angstrom) / 2
        highest[0] = lowest[0] + settings.ice_thickness_angstrom
    half_voxel = settings.voxel_size_angstrom / 2
    return lowest - half_voxel, highest - half_voxel


def _free_place(
    lowest: Float[np.ndarray, "3"],
    highest: Float[np.ndarray, "3"],
    centers: Float[np.ndarray, "n 3"],
    distances: Float[np.ndarray, "n"],
    generator: np.random.Generator,
) -> Float[np.ndarray, "3"] | None:
    """Return a random point between the corners that keeps its distance from all centres; None if none is found."""
    if np.any(highest < lowest):
        return None
    for _ in range(_ROUNDS):
        candidates = generator.uniform(lowest, highest, size=(_CANDIDATES, 3))
        apart = np.linalg.norm(candidates[:, None] - centers[None], axis=-1)
        free = np.flatnonzero((apart >= distances).all(axis=1))
        if len(free):
            return np.asarray(candidates[free[0]])
    return None


def _no_room(settings: SpecimenSettings, label: str, done: int, wanted: int) -> str:
    extent = [edge * settings.voxel_size_angstrom for edge in settings.shape_voxel]
    if settings.ice_thickness_angstrom is not None:
        extent[0] = settings.ice_thickness_angstrom
    return (
        f"{label}: room for {done} of {wanted} in ice of {_joined(extent)} A (z,y,x) besides what is there already; "
        "ask for fewer particles or a larger shape"
    )


def _joined(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:g}" for number in numbers)
