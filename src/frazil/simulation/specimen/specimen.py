"""The specimen: particles at random places, or at those of existing picks, in a slab of ice; its density and its masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int64, UInt8, UInt16

from frazil.core.errors import PickError, SimulationError
from frazil.core.records import Picks
from frazil.io.like import Likeness
from frazil.simulation.specimen.orientations import preferred_rotation, random_rotation
from frazil.simulation.specimen.packing import MOST_STRETCHED, Body, Canvas, Place, box_edge, draw_body
from frazil.simulation.specimen.settings import SpecimenSettings, specimen_structures
from frazil.simulation.specimen.surroundings import add_background, add_frost, add_solid_things
from frazil.simulation.structures.catalog import Structure
from frazil.simulation.structures.individual import broken_part
from frazil.simulation.text import joined

_ROTATIONS = (8, 32)  # fewest and most that are tried where a body fits nowhere
_SEARCHED_TILES = 300  # per particle: fewer rotations are tried where a search of the whole ice is slow
_LIKE_ROTATIONS = 32  # tried at a pick whose rotation is not known
_MOST_ANNOTATED = 65535  # numbers of a uint16 mask
_DENSEST = 0.5  # share of the ice that is not worth trying: spheres put at random and never moved jam at 0.38


@dataclass(frozen=True)
class PlacedParticles:
    """All particles of one class in a specimen; centers and rotations as in `Picks`.

    Instances are their numbers in the specimen's mask; 0 for distractors, which are not in it.
    """

    structure: Structure
    centers_angstrom: Float[np.ndarray, "n 3"]
    rotations: Float[np.ndarray, "n 3 3"]
    instances: Int64[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.centers_angstrom)


@dataclass(frozen=True)
class Specimen:
    """What is in the ice, with everything that is known about it.

    The density is that of mass over the ice, dalton per cubic angstrom, float32; a voxel of an annotated particle's solid body
    has its number in `instances`, others 0. Annotated classes are `placed` in the order of their labels, also without a particle;
    `distractors` are in the density alone. `crowding` is the share of the ice that all solid bodies fill. `membrane` is 1 where the
    bilayer of a vesicle is, None if no vesicle was asked for.
    """

    density: Float[np.ndarray, "z y x"]
    instances: UInt16[np.ndarray, "z y x"]
    placed: list[PlacedParticles]
    distractors: list[PlacedParticles]
    voxel_size_angstrom: float
    crowding: float
    membrane: UInt8[np.ndarray, "z y x"] | None = None

    @property
    def classes(self) -> UInt8[np.ndarray, "z y x"]:
        """The mask by class: i + 1 where a particle of ``placed[i]`` is, 0 elsewhere."""
        class_of = np.zeros(1 + sum(map(len, self.placed)), dtype=np.uint8)
        for index, particles in enumerate(self.placed):
            class_of[particles.instances] = index + 1
        return np.asarray(class_of[self.instances])


def build_specimen(
    settings: SpecimenSettings,
    generator: np.random.Generator,
    *,
    like: Likeness | None = None,
    structures: Mapping[str, Structure] | None = None,
) -> Specimen:
    """Fill the ice: the largest particles first, so that small ones find room between them.

    Solid bodies never overlap, and lie in the ice. They may be cut by the y and x borders, as in a real tomogram; the
    center of every particle lies in the tomogram, so everything that can be seen of a class is annotated.

    Real picks can lie closer than bodies can: among some random rotations the one that overlaps least is taken, and what
    is overlapped still belongs to the first. Surroundings may lie on a pick; then both are there.

    With `like`, the annotated classes are at these picks, in their rotations if known, and only distractors at random; their
    tomogram's shape and voxel size replace those of the settings. `structures` are those of `specimen_structures`, so that files
    are not read again; those without a pick are in the result too, so that a class has the same number in all runs of a project.
    """
    if structures is None:
        structures = specimen_structures(settings, picked=None if like is None else [some.label for some in like.picks])
    if like is not None:
        settings = settings.for_tomogram(like.header.shape_voxel, like.header.voxel_size_angstrom)
    filling = _Filling(settings, structures, generator)
    if like is not None:
        filling.place(like.picks)
    filling.fill(list(settings.amounts) if like is None else settings.distractors(structures))
    return filling.specimen()


class _Filling:
    """A specimen in the making."""

    def __init__(
        self, settings: SpecimenSettings, structures: Mapping[str, Structure], generator: np.random.Generator
    ) -> None:
        self._settings = settings
        self._voxel = settings.voxel_size_angstrom
        self._structures = structures
        self._distractors = set(settings.distractors(structures))
        self._generator = generator
        # Centers in angstrom, rotations and instances; bodies themselves would fill the memory.
        self._placed: dict[str, list[tuple[np.ndarray, np.ndarray, int]]] = {label: [] for label in sorted(structures)}
        self._annotated = 0
        margin = max(box_edge(structure, self._voxel) for structure in structures.values()) // 2
        self._canvas = Canvas(settings.slab, margin_voxel=margin)
        # Their own: other surroundings leave orientations and order as they are, and so do differences between individuals.
        self._stream, self._individual, self._debris = generator.spawn(3)
        things = settings.surroundings
        self._membrane = np.zeros(settings.shape_voxel, dtype=np.uint8) if things.vesicles else None
        solid = add_solid_things(self._canvas.density, things, settings.slab, self._voxel, self._stream, self._membrane)
        if solid is not None:
            self._canvas.block(solid)

    def fill(self, labels: Sequence[str]) -> None:
        """Place the requested amounts of these classes at random, the largest first."""
        body_voxel = {label: self._body_voxel(label) for label in labels}
        ordered = sorted(labels, key=lambda label: (-body_voxel[label], label))
        if self._settings.crowding is not None:
            self._fill_share(self._settings.crowding, {label: body_voxel[label] for label in ordered})
            return
        room, filled = self._canvas.room_voxel, self._canvas.filled_voxel
        counts = self._settings.counts(ordered, room, self._generator)
        asked = filled + sum(count * body_voxel[label] for label, count in counts.items())
        if asked > _DENSEST * room:
            raise SimulationError(
                f"particles: {sum(counts.values())} would fill {asked / max(room, 1):.0%} of the ice, and at most about 35 % "
                "can be filled at random; ask for fewer particles, a larger shape or thicker ice"
            )
        for label, count in counts.items():
            for done in range(count):
                self._place_at_random(label, done, count)

    def _fill_share(self, crowding: float, body_voxel: Mapping[str, int]) -> None:
        """Place particles until they fill a share of the ice, what was filled before included.

        Each class makes up for what the one before has left over, so that the sum is as near as the smallest body.
        """
        amounts = self._settings.amounts
        whole = sum(amounts[label] * volume for label, volume in body_voxel.items())
        missing = max(crowding * self._canvas.room_voxel - self._canvas.filled_voxel, 0)
        goal = float(self._canvas.filled_voxel)
        for label, volume in body_voxel.items():
            goal += missing * amounts[label] * volume / whole
            done = 0
            while self._canvas.filled_voxel + volume / 2 < goal:
                lacking = round((goal - self._canvas.filled_voxel) / volume)
                self._place_at_random(label, done, done + max(lacking, 1))
                done += 1

    def place(self, picks: Sequence[Picks]) -> None:
        """Place particles where they were picked, the largest first."""
        for some in sorted(picks, key=lambda some: (-self._body_voxel(some.label), some.label)):
            centers_voxel, shape_voxel = some.centers_angstrom / self._voxel, self._settings.shape_voxel
            inside = ((centers_voxel > -0.5) & (centers_voxel < np.asarray(shape_voxel) - 0.5)).all(axis=1)
            if not inside.all():
                raise PickError(
                    f"{some.label}: {int((~inside).sum())} of {len(some)} picks of {some.run} lie outside its tomogram of "
                    f"{joined(shape_voxel)} voxels; check its voxel size, or remove them from the picks"
                )
            for index, center in enumerate(centers_voxel):
                self._place_at(some.label, center, None if some.rotations is None else some.rotations[index])

    def specimen(self) -> Specimen:
        """Return what was made, with dissolved protein in the remaining ice."""
        canvas = self._canvas
        surroundings = self._settings.surroundings
        for _ in range(surroundings.broken_particles):
            self._place_debris(1)
        for _ in range(surroundings.aggregates):
            self._place_debris(int(self._debris.integers(2, 5)))
        if concentration := surroundings.background_protein_mg_per_ml:
            add_background(
                canvas.density,
                canvas.solid,
                concentration,
                self._voxel,
                canvas.slab,
                self._stream,
                clump=surroundings.background_clump,
            )
        add_frost(canvas.density, surroundings.ice_crystals, canvas.slab, self._voxel, self._debris)
        placed = [
            PlacedParticles(
                self._structures[label],
                np.array([center for center, _, _ in some]).reshape(-1, 3),
                np.array([rotation for _, rotation, _ in some]).reshape(-1, 3, 3),
                np.array([instance for _, _, instance in some], dtype=np.int64),
            )
            for label, some in self._placed.items()
        ]
        return Specimen(
            density=canvas.density,
            instances=canvas.instances,
            placed=[particles for particles in placed if particles.structure.label not in self._distractors],
            distractors=[particles for particles in placed if particles.structure.label in self._distractors],
            voxel_size_angstrom=self._voxel,
            crowding=self._crowding,
            membrane=self._membrane,
        )

    @property
    def _crowding(self) -> float:
        return self._canvas.filled_voxel / max(self._canvas.room_voxel, 1)

    def _draw(self, label: str, rotation: Float[np.ndarray, "3 3"], shift_voxel: Float[np.ndarray, "3"]) -> Body:
        structure, stretch = self._structures[label], None
        if structure.size_spread:
            spread = self._stream.standard_normal(3).clip(-MOST_STRETCHED, MOST_STRETCHED)
            stretch = 1 + structure.size_spread * spread
        return draw_body(structure, self._voxel, rotation, shift_voxel, stretch, self._individual)

    def _body_voxel(self, label: str) -> int:
        return len(draw_body(self._structures[label], self._voxel, np.eye(3), np.zeros(3)).offsets)

    def _place_at_random(self, label: str, done: int, wanted: int) -> None:
        """Place one particle. Another orientation is drawn only where one fits nowhere."""
        fewest, most = _ROTATIONS
        for _ in range(max(fewest, min(most, _SEARCHED_TILES // self._canvas.tile_count))):
            rotation = self._random_rotation()
            body = self._draw(label, rotation, self._generator.uniform(-0.5, 0.5, size=3))
            place = self._canvas.find_place(body, self._generator)
            if place is not None:
                self._put(label, body, place)
                return
        extent = [self._settings.ice_depth_angstrom, *(edge * self._voxel for edge in self._settings.shape_voxel[1:])]
        fewer = "fewer particles" if self._settings.crowding is None else "less crowding"
        raise SimulationError(
            f"{label}: room for {done} of {wanted} in ice of {joined(extent)} A (z,y,x), which is then {self._crowding:.1%} "
            f"full; ask for {fewer}, a larger shape or thicker ice"
        )

    def _place_at(
        self, label: str, center_voxel: Float[np.ndarray, "3"], known: Float[np.ndarray, "3 3"] | None
    ) -> None:
        """Place one particle at a given center, in the known or in the least overlapping orientation."""
        place = tuple(np.rint(center_voxel).astype(int).tolist())
        least = math.inf
        for _ in range(1 if known is not None else _LIKE_ROTATIONS):
            body = self._draw(label, self._random_rotation() if known is None else known, center_voxel - place)
            overlap = self._canvas.overlap(body, place)
            if overlap < least:
                least, best = overlap, body
            if not overlap:
                break
        self._put(label, best, place)

    def _place_debris(self, size: int) -> None:
        """Place particles that touch each other, or a piece of one alone, where there is room; in no picks and masks."""
        random, place = self._debris, None
        present = [label for label, some in self._placed.items() for _ in some]
        for label in random.choice(present, size) if present else ():
            body = draw_body(
                self._structures[label],
                self._voxel,
                random_rotation(random),
                random.uniform(-0.5, 0.5, 3),
                None,
                random,
            )
            if size == 1:
                part = broken_part(body.solid, random.uniform(0.3, 0.8), self._voxel, random)
                body = replace(body, density=np.where(part, body.density, 0), solid=part)
            there = (
                self._canvas.find_place(body, random)
                if place is None
                else self._canvas.place_beside(body, place, random)
            )
            if there is not None:
                self._canvas.put(body, there, 0)
                place = there

    def _random_rotation(self) -> Float[np.ndarray, "3 3"]:
        if self._settings.orientations == "uniform":
            return random_rotation(self._generator)
        normal = self._settings.slab.normal
        return preferred_rotation(normal, self._settings.orientation_concentration, self._generator)

    def _put(self, label: str, body: Body, place: Place) -> None:
        instance = 0
        if label not in self._distractors:
            self._annotated += 1
            instance = self._annotated
        if instance > _MOST_ANNOTATED:
            raise SimulationError(
                f"particles: more than {_MOST_ANNOTATED} in one tomogram, which an instance mask cannot number; ask for "
                "fewer or a smaller shape"
            )
        self._canvas.put(body, place, instance)
        center_angstrom = (np.asarray(place) + body.shift_voxel) * self._voxel
        self._placed[label].append((center_angstrom, body.rotation, instance))
