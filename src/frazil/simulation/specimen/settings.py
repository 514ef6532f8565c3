"""What is asked to be in the ice: shape, amounts of each class, slab, orientations, structures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from frazil.core.settings import Counted, Settings, VoxelSize
from frazil.simulation.specimen.packing import Slab
from frazil.simulation.specimen.surroundings import SurroundingsSettings
from frazil.simulation.structures.built_in import DISTRACTORS, PARTICLES
from frazil.simulation.structures.catalog import Structure, find_structures
from frazil.simulation.structures.structure import StructureSettings
from frazil.simulation.text import Pair, Shape, joined

_MOST_CROWDED = 0.3  # share of the ice
_DEFAULT_COUNT = 12
_SHORTEST_EDGE_VOXEL, _LONGEST_EDGE_VOXEL = 8, 65536
_STEEPEST_ICE_DEGREES = 60
_CUBIC_MICROMETER = 1e12  # cubic angstrom
FULL_OF_ICE: dict[str, Any] = {"ice_thickness_angstrom": None, "ice_tilt_degrees": (0.0, 0.0)}
_GONE = (("cut_at_border", True), ("ice_offset_angstrom", 0))  # as frazil 0.1 calibrate wrote them into presets


def _number_by_label(value: Any) -> Any:
    """Read ``12`` (of every built-in particle) or ``ribosome=20,apo-ferritin=30``."""
    parts = str(value).split(",") if isinstance(value, (int, float, str)) else []
    if len(parts) == 1 and "=" not in parts[0]:
        return dict.fromkeys(PARTICLES, parts[0].strip())
    pairs = [part.partition("=") for part in parts]
    labels = [label.strip() for label, _, _ in pairs]
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"{', '.join(repeated)} named twice; name each particle once")
    return {label: number.strip() for label, (_, _, number) in zip(labels, pairs, strict=True)} or value


class SpecimenSettings(Settings):
    """What is in the ice.

    `particles_per_class` or `concentrations` say how many there are of each class or, with `crowding`, in which proportions.
    Distractors are named there like the annotated classes.

    Parameters
    ----------
    shape_voxel : zyx shape of a tomogram.
    voxel_size_angstrom : edge of a voxel; must be finer than the radius of the smallest particle.
    particles_per_class : how many of each particle; one number stands for all built-in particles. 12 of each if neither
        this nor `concentrations` is given.
    concentrations : particles per cubic micrometer of ice; whether a fraction of a particle counts is drawn at random.
    crowding : share of the ice that solid bodies fill, at most 0.3. With existing picks, distractors fill the rest.
    ice_thickness_angstrom : thickness of the slab; None, or ``full``, fills the tomogram.
    ice_tilt_degrees : the slab rises along y by the first and along x by the second angle.
    orientations : ``uniform``, or ``preferred``: the particles' own z axis near the normal of the ice, either way up.
    orientation_concentration : kappa of the von Mises-Fisher spread of the preferred axis; 8 is about 20 degrees.
    structures : structures from files, and changes to built-in ones.
    surroundings : vesicles, gold, carbon, dissolved protein.
    """

    shape_voxel: Shape = (128, 256, 256)
    voxel_size_angstrom: VoxelSize = 10.0
    particles_per_class: Annotated[dict[str, Counted] | None, BeforeValidator(_number_by_label)] = None
    concentrations: Annotated[dict[str, PositiveFloat] | None, BeforeValidator(_number_by_label)] = None
    crowding: float | None = Field(None, gt=0, le=_MOST_CROWDED)
    ice_thickness_angstrom: Annotated[
        float | None, BeforeValidator(lambda value: None if value == "full" else value)
    ] = Field(None, gt=0)
    ice_tilt_degrees: Pair = (0.0, 0.0)
    orientations: Literal["uniform", "preferred"] = "uniform"
    orientation_concentration: float = Field(8.0, ge=0)
    structures: tuple[StructureSettings, ...] = ()
    surroundings: SurroundingsSettings = SurroundingsSettings()

    @model_validator(mode="before")
    @classmethod
    def _some_particles(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        data = {key: value for key, value in data.items() if (key, value) not in _GONE}
        if data.get("particles_per_class") is None and data.get("concentrations") is None:
            data["particles_per_class"] = _DEFAULT_COUNT
        return data

    @model_validator(mode="after")
    def _possible(self) -> SpecimenSettings:
        if min(self.shape_voxel) < _SHORTEST_EDGE_VOXEL or max(self.shape_voxel) > _LONGEST_EDGE_VOXEL:
            edges = f"make every edge at least {_SHORTEST_EDGE_VOXEL} and at most {_LONGEST_EDGE_VOXEL}"
            raise ValueError(f"shape {joined(self.shape_voxel)}: {edges}")
        if self.particles_per_class is not None and self.concentrations is not None:
            raise ValueError("particles: both counts and concentrations; give one of them")
        if not self.amounts:
            raise ValueError("particles: none named; name at least one particle")
        depth, thickness = self.shape_voxel[0] * self.voxel_size_angstrom, self.ice_thickness_angstrom
        tilt = joined(self.ice_tilt_degrees)
        if max(map(abs, self.ice_tilt_degrees)) > _STEEPEST_ICE_DEGREES:
            raise ValueError(f"ice tilt {tilt}: keep both angles within -60 and 60 degrees")
        if thickness is None and any(self.ice_tilt_degrees):
            raise ValueError(f"ice tilt {tilt}: ice that fills the tomogram cannot be tilted; give its thickness too")
        if thickness is not None and thickness > depth:
            raise ValueError(f"ice {thickness:g} A thick in a tomogram of {depth:g} A; make it at most as thick")
        return self

    @property
    def amounts(self) -> dict[str, float]:
        """Counts or concentrations, whichever was given."""
        return {**(self.concentrations or {}), **(self.particles_per_class or {})}

    @property
    def slab(self) -> Slab:
        """The ice on the voxels of the tomogram."""
        thickness = self.ice_thickness_angstrom
        thickness_voxel = None if thickness is None else thickness / self.voxel_size_angstrom
        return Slab(self.shape_voxel, thickness_voxel, self.ice_tilt_degrees)

    @property
    def ice_depth_angstrom(self) -> float:
        """Thickness of the ice, which may be all of the tomogram."""
        return self.ice_thickness_angstrom or self.shape_voxel[0] * self.voxel_size_angstrom

    def is_distractor(self, label: str) -> bool:
        """Return whether a class is one that is left out of picks and masks."""
        own = {entry.label: entry.distractor for entry in self.structures}
        return own.get(label, label in DISTRACTORS)

    def distractors(self, structures: Collection[str]) -> list[str]:
        """Return which of these classes are in the ice but in no picks and masks; a class that is only picked is not."""
        return [label for label in self.amounts if self.is_distractor(label) and label in structures]

    def is_ice_too_thick(self, shape_voxel: tuple[int, int, int], voxel_size_angstrom: float) -> bool:
        """Return whether the ice is thicker than a tomogram of another shape and voxel size."""
        return (self.ice_thickness_angstrom or 0) > shape_voxel[0] * voxel_size_angstrom

    def for_tomogram(self, shape_voxel: tuple[int, int, int], voxel_size_angstrom: float) -> SpecimenSettings:
        """Return the same settings for a tomogram of another shape and voxel size; ice that is too thick fills it."""
        changes: dict[str, Any] = {"shape_voxel": shape_voxel, "voxel_size_angstrom": voxel_size_angstrom}
        if self.is_ice_too_thick(shape_voxel, voxel_size_angstrom):
            changes |= FULL_OF_ICE
        return self.model_copy(update=changes)

    def counts(self, labels: Iterable[str], room_voxel: int, generator: np.random.Generator) -> dict[str, int]:
        """Return how many particles of some of the classes to place in ice of `room_voxel`, without `crowding`."""
        if self.particles_per_class is not None:
            return {label: self.particles_per_class[label] for label in labels}
        room = room_voxel * self.voxel_size_angstrom**3 / _CUBIC_MICROMETER
        return {label: int(self.amounts[label] * room + generator.uniform()) for label in labels}


def specimen_structures(settings: SpecimenSettings, *, picked: Iterable[str] | None = None) -> dict[str, Structure]:
    """Return the structures that a specimen needs, by label; classes of existing picks replace the annotated ones."""
    labels = list(settings.amounts)
    if picked is not None:
        labels = sorted(set(picked)) + [label for label in labels if settings.is_distractor(label)]
    own = {entry.label: entry for entry in settings.structures}
    return find_structures(own.get(label) or StructureSettings(label=label) for label in dict.fromkeys(labels))
