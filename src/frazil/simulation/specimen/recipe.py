"""What is asked to be in the ice: shape, amounts of each class, slab, orientations, structures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, ConfigDict, model_validator

from frazil.core.errors import SimulationError
from frazil.core.settings import Settings
from frazil.simulation.specimen.packing import Slab
from frazil.simulation.specimen.surroundings import SurroundingsSettings
from frazil.simulation.structures.library import DISTRACTORS, PARTICLES, Structure, StructureSettings, find_structures
from frazil.simulation.text import split_numbers

MOST_CROWDED = 0.3
"""Share of the ice that can be asked to be filled by solid bodies."""

_DEFAULT_COUNT = 12
_CUBIC_MICROMETRE = 1e12  # cubic angstrom


def _number_by_label(value: Any) -> Any:
    """Read ``12`` (of every built-in particle) or ``ribosome=20,apo-ferritin=30``."""
    parts = str(value).split(",") if isinstance(value, (int, float, str)) else []
    if len(parts) == 1 and "=" not in parts[0]:
        return dict.fromkeys(PARTICLES, parts[0].strip())
    pairs = [part.partition("=") for part in parts]
    labels = [label.strip() for label, _, _ in pairs]
    repeated = sorted({label for label in labels if labels.count(label) > 1})
    if repeated:
        raise SimulationError(f"particles {value}: {', '.join(repeated)} named twice; name each particle once")
    return {label: number.strip() for label, (_, _, number) in zip(labels, pairs, strict=True)} or value


class SpecimenSettings(Settings):
    """What is in the ice.

    How many there are of each class is said by `particles_per_class` or by `concentrations`, or, with `crowding`, in
    proportion to either. Distractors are named there like the annotated classes.

    Parameters
    ----------
    shape_voxel : zyx shape of a tomogram.
    voxel_size_angstrom : edge of a voxel; must be finer than the radius of the smallest particle.
    particles_per_class : how many of each particle; one number stands for all built-in particles. 12 of each if neither
        this nor `concentrations` is given.
    concentrations : particles per cubic micrometre of ice; the broken rest of a count is drawn by chance.
    crowding : share of the ice that solid bodies fill, at most 0.3. With existing picks, distractors fill what they leave.
    ice_thickness_angstrom : thickness of the slab; None fills the tomogram.
    ice_tilt_degrees : the slab rises along y by the first and along x by the second angle.
    ice_offset_angstrom : of the slab's middle along z from the middle of the tomogram.
    orientations : ``uniform``, or ``preferred``: the particles' own z axis near the normal of the ice, either way up.
    orientation_concentration : kappa of the von Mises-Fisher spread of the preferred axis; 8 is about 20 degrees.
    cut_at_border : bodies may reach past the y and x borders, their centres may not.
    structures : structures from files, and changes to built-in ones.
    surroundings : vesicles, gold, carbon, dissolved protein.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    shape_voxel: Annotated[tuple[int, int, int], BeforeValidator(split_numbers)] = (128, 256, 256)
    voxel_size_angstrom: float = 10.0
    particles_per_class: Annotated[dict[str, int] | None, BeforeValidator(_number_by_label)] = None
    concentrations: Annotated[dict[str, float] | None, BeforeValidator(_number_by_label)] = None
    crowding: float | None = None
    ice_thickness_angstrom: float | None = None
    ice_tilt_degrees: Annotated[tuple[float, float], BeforeValidator(split_numbers)] = (0.0, 0.0)
    ice_offset_angstrom: float = 0.0
    orientations: Literal["uniform", "preferred"] = "uniform"
    orientation_concentration: float = 8.0
    cut_at_border: bool = True
    structures: tuple[StructureSettings, ...] = ()
    surroundings: SurroundingsSettings = SurroundingsSettings()

    @model_validator(mode="before")
    @classmethod
    def _some_particles(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("particles_per_class") is None and data.get("concentrations") is None:
            return {**data, "particles_per_class": _DEFAULT_COUNT}
        return data

    @model_validator(mode="after")
    def _possible(self) -> SpecimenSettings:
        if min(self.shape_voxel) < 8:
            raise SimulationError(f"shape {joined(self.shape_voxel)}: an edge is too short; make every edge at least 8")
        if not self.voxel_size_angstrom > 0:
            raise SimulationError(
                f"voxel size {self.voxel_size_angstrom:g} A: not above 0; give a voxel's edge in angstrom"
            )
        self._check_amounts()
        self._check_ice()
        if not self.orientation_concentration >= 0:
            raise SimulationError(
                f"orientation concentration {self.orientation_concentration:g}: below 0; give 0 for no preference"
            )
        built_in = [entry for entry in self._entries(self.amounts) if entry.source is None]
        _check_voxel_size(find_structures(built_in).values(), self.voxel_size_angstrom)
        return self

    def _check_amounts(self) -> None:
        if self.particles_per_class is not None and self.concentrations is not None:
            raise SimulationError("particles: both counts and concentrations; give one of them")
        if not self.amounts:
            raise SimulationError("particles: none named; name at least one particle")
        for label, count in (self.particles_per_class or {}).items():
            if count < 1:
                raise SimulationError(f"{label}: {count} particles; ask for at least 1 or do not name it")
        for label, concentration in (self.concentrations or {}).items():
            if not concentration > 0:
                raise SimulationError(
                    f"{label}: {concentration:g} particles per cubic micrometre; ask for more than 0 or do not name it"
                )
        if self.crowding is not None and not 0 < self.crowding <= MOST_CROWDED:
            raise SimulationError(
                f"crowding {self.crowding:g}: a share of the ice above 0 and at most {MOST_CROWDED:g} can be filled"
            )

    def _check_ice(self) -> None:
        depth = self.shape_voxel[0] * self.voxel_size_angstrom
        thickness = self.ice_thickness_angstrom
        if thickness is not None and not 0 < thickness <= depth:
            raise SimulationError(
                f"ice {thickness:g} A thick in a tomogram of {depth:g} A; make it above 0 and at most as thick as the "
                "tomogram"
            )
        if max(map(abs, self.ice_tilt_degrees)) > 60:
            raise SimulationError(
                f"ice tilt {joined(self.ice_tilt_degrees)}: keep both angles within -60 and 60 degrees"
            )
        if thickness is None and (any(self.ice_tilt_degrees) or self.ice_offset_angstrom):
            raise SimulationError(
                f"ice tilt {joined(self.ice_tilt_degrees)}, offset {self.ice_offset_angstrom:g} A: ice that fills the "
                "tomogram cannot be moved; give its thickness too"
            )
        if thickness is not None and abs(self.ice_offset_angstrom) >= (depth + thickness) / 2:
            raise SimulationError(
                f"ice offset {self.ice_offset_angstrom:g} A: the middle of the tomogram is without ice; make it smaller"
            )

    @property
    def amounts(self) -> dict[str, float]:
        """Counts or concentrations, whichever was given."""
        return dict(self.concentrations if self.particles_per_class is None else self.particles_per_class)  # type: ignore[arg-type]

    @property
    def slab(self) -> Slab:
        """The ice on the voxels of the tomogram."""
        voxel = self.voxel_size_angstrom
        thickness = self.ice_thickness_angstrom
        return Slab(
            self.shape_voxel,
            thickness_voxel=None if thickness is None else thickness / voxel,
            tilt_degrees=self.ice_tilt_degrees,
            offset_voxel=self.ice_offset_angstrom / voxel,
        )

    def is_distractor(self, label: str) -> bool:
        """Whether a class is left out of picks and masks."""
        own = {entry.label: entry.distractor for entry in self.structures}
        return own.get(label, label in DISTRACTORS)

    def for_tomogram(self, shape_voxel: tuple[int, int, int], voxel_size_angstrom: float) -> SpecimenSettings:
        """Return the same settings for a tomogram of another shape and voxel size."""
        changes = {"shape_voxel": shape_voxel, "voxel_size_angstrom": voxel_size_angstrom}
        return SpecimenSettings.model_validate(self.model_dump() | changes)

    def counts(self, labels: Iterable[str], room_voxel: int, generator: np.random.Generator) -> dict[str, int]:
        """Return how many particles of some of the classes to place in ice of `room_voxel`, without `crowding`."""
        if self.particles_per_class is not None:
            return {label: self.particles_per_class[label] for label in labels}
        room = room_voxel * self.voxel_size_angstrom**3 / _CUBIC_MICROMETRE
        return {label: int(self.amounts[label] * room + generator.uniform()) for label in labels}

    def _entries(self, labels: Iterable[str]) -> list[StructureSettings]:
        own = {entry.label: entry for entry in self.structures}
        return [own.get(label) or StructureSettings(label=label) for label in labels]


def specimen_structures(settings: SpecimenSettings, *, picked: Iterable[str] | None = None) -> dict[str, Structure]:
    """Return the structures that a specimen needs, by label; files are read here.

    Parameters
    ----------
    picked : annotated classes of existing picks, which then stand for those of the settings.

    Raises
    ------
    SimulationError : an unknown class, a file that is no structure, a voxel that is too coarse.
    """
    labels = list(settings.amounts)
    if picked is not None:
        labels = sorted(set(picked)) + [label for label in labels if settings.is_distractor(label)]
    structures = find_structures(settings._entries(dict.fromkeys(labels)))
    _check_voxel_size(structures.values(), settings.voxel_size_angstrom)
    return structures


def joined(numbers: Sequence[float]) -> str:
    """Write numbers as they are given on a command line."""
    return ",".join(f"{number:g}" for number in numbers)


def _check_voxel_size(structures: Iterable[Structure], voxel_size_angstrom: float) -> None:
    smallest = min(structures, key=lambda structure: structure.radius_angstrom, default=None)
    if smallest is not None and voxel_size_angstrom > smallest.radius_angstrom:
        raise SimulationError(
            f"voxel size {voxel_size_angstrom:g} A: coarser than {smallest.label}, whose radius is "
            f"{smallest.radius_angstrom:g} A; use a finer voxel or leave that particle out"
        )
