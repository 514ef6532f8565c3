"""The specimen: particles at random places, or at those of existing picks, in a slab of ice; its density and its masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, UInt8, UInt16

from frazil.core.errors import PickError, SimulationError
from frazil.core.records import Picks, TomogramHeader
from frazil.simulation.specimen.orientations import preferred_rotation, random_rotation
from frazil.simulation.specimen.packing import Body, Canvas, Place, box_edge, draw_body
from frazil.simulation.specimen.recipe import SpecimenSettings, joined, specimen_structures
from frazil.simulation.specimen.surroundings import add_background, draw_surroundings
from frazil.simulation.structures.library import Structure

__all__ = ["Likeness", "PlacedParticles", "Specimen", "SpecimenSettings", "build_specimen", "place_like"]

_ROTATIONS = (8, 32)  # fewest and most that are tried where a body fits nowhere
_SEARCHED_TILES = 300  # the more, the quicker a search of the whole ice
_LIKE_ROTATIONS = 32  # tried at a pick whose rotation is not known
_MOST_ANNOTATED = 65535  # numbers of a uint16 mask
_Put = tuple[np.ndarray, np.ndarray, int]  # centre in angstrom, rotation and instance of a particle
_DENSEST = 0.5  # share of the ice that is not worth trying: spheres put at random and never moved jam at 0.38


@dataclass(frozen=True)
class PlacedParticles:
    """All particles of one class in a specimen.

    Parameters
    ----------
    structure : what they look like.
    centers_angstrom : `(n, 3)` zyx, from the centre of voxel (0, 0, 0).
    rotations : `(n, 3, 3)` object -> tomogram, acting on zyx vectors.
    instances : `(n,)` their numbers in the specimen's mask; 0 for distractors, which are not in it.
    """

    structure: Structure
    centers_angstrom: Float[np.ndarray, "n 3"]
    rotations: Float[np.ndarray, "n 3 3"]
    instances: Int64[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.centers_angstrom)


@dataclass(frozen=True)
class Specimen:
    """What is in the ice, with everything that is known of it.

    Parameters
    ----------
    density : `(z, y, x)` mass density over the ice, dalton per cubic angstrom, float32.
    instances : `(z, y, x)` number of the annotated particle whose solid body a voxel belongs to; 0 elsewhere.
    placed : the annotated classes in the order of their labels, also those without a particle.
    distractors : the classes that are in the density but are not annotated.
    voxel_size_angstrom : edge of a voxel.
    crowding : share of the ice that solid bodies fill, distractors included.
    """

    density: Float[np.ndarray, "z y x"]
    instances: UInt16[np.ndarray, "z y x"]
    placed: list[PlacedParticles]
    distractors: list[PlacedParticles]
    voxel_size_angstrom: float
    crowding: float

    @property
    def classes(self) -> UInt8[np.ndarray, "z y x"]:
        """The mask by class: i + 1 where a particle of ``placed[i]`` is, 0 elsewhere."""
        class_of = np.zeros(1 + sum(map(len, self.placed)), dtype=np.uint8)
        for index, particles in enumerate(self.placed):
            class_of[particles.instances] = index + 1
        return np.asarray(class_of[self.instances])


@dataclass(frozen=True)
class Likeness:
    """Existing picks of one run, to be simulated again.

    Parameters
    ----------
    header : shape and voxel size of the tomogram.
    picks : of this run; those with rotations keep them.
    """

    header: TomogramHeader
    picks: Sequence[Picks]


def build_specimen(
    settings: SpecimenSettings,
    generator: np.random.Generator,
    *,
    like: Likeness | None = None,
    structures: Mapping[str, Structure] | None = None,
) -> Specimen:
    """Fill the ice: the largest particles first, so that the small ones find room between them.

    Solid bodies never overlap, and lie in the ice. They may be cut by the y and x borders, as in a real tomogram; the
    centre of every particle lies in the tomogram, so all that is to be seen of a class is annotated.

    Parameters
    ----------
    like : place the annotated classes as these picks, and only distractors at random (`place_like`).
    structures : what `specimen_structures` returns, where it is at hand: files are then not read again.

    Raises
    ------
    SimulationError : the particles do not fit into the ice, or a structure cannot be used.
    PickError : as in `place_like`.
    """
    if like is not None:
        picked = {picks.label for picks in like.picks}
        structures = structures or specimen_structures(settings, picked=picked)
        return place_like(like.picks, like.header, structures, settings, generator)
    structures = structures or specimen_structures(settings)
    distractors = [label for label in settings.amounts if settings.is_distractor(label)]
    filling = _Filling(settings, structures, distractors, generator)
    filling.fill(list(settings.amounts))
    return filling.specimen()


def place_like(
    picks: Sequence[Picks],
    header: TomogramHeader,
    structures: Mapping[str, Structure],
    settings: SpecimenSettings,
    generator: np.random.Generator,
) -> Specimen:
    """Put the same classes at the same places as existing picks, in their rotations where these are known.

    Real picks can lie closer than bodies can: among some random rotations the one that overlaps least is taken, and what
    is overlapped still belongs to the first. Then the distractors of the settings are packed around the picks. Where the
    surroundings of the settings lie on a pick, both are there.

    Parameters
    ----------
    picks : of one run.
    header : its shape and voxel size stand for those of the settings.
    structures : by label; annotated ones without a pick are in the result too, without particles, so that a class has
        the same number in all runs of a project.

    Raises
    ------
    PickError : a class without a structure, or a centre that is not in the tomogram.
    SimulationError : the distractors do not fit.
    """
    for some in picks:
        if some.label not in structures:
            raise PickError(
                f"{some.label}: picked in {some.run}, but no such structure; take only the labels "
                f"{', '.join(sorted(structures))}, or give the file of a map or of atoms"
            )
    settings = settings.for_tomogram(header.shape_voxel, header.voxel_size_angstrom)
    distractors = [label for label in settings.amounts if settings.is_distractor(label) and label in structures]
    filling = _Filling(settings, structures, distractors, generator)
    filling.place(picks)
    filling.fill(distractors)
    return filling.specimen()


class _Filling:
    """A specimen in the making."""

    def __init__(
        self,
        settings: SpecimenSettings,
        structures: Mapping[str, Structure],
        distractors: Sequence[str],
        generator: np.random.Generator,
    ) -> None:
        self._settings = settings
        self._structures = structures
        self._distractors = set(distractors)
        self._generator = generator
        self._particles: dict[str, list[_Put]] = {label: [] for label in sorted(structures)}
        self._annotated = 0
        edges = [box_edge(structure, settings.voxel_size_angstrom) for structure in structures.values()]
        self._canvas = Canvas(settings.slab, margin_voxel=max(edges) // 2, cut_at_border=settings.cut_at_border)
        self._surround()

    def _surround(self) -> None:
        """Put what is not a particle; particles then keep off it."""
        self._stream = self._generator.spawn(1)[
            0
        ]  # its own: other surroundings leave orientations and order as they are
        surroundings = draw_surroundings(
            self._settings.surroundings, self._canvas.slab, self._settings.voxel_size_angstrom, self._stream
        )
        if surroundings.density is not None:
            self._canvas.density += surroundings.density
        if surroundings.solid is not None:
            self._canvas.block(surroundings.solid)

    def fill(self, labels: Sequence[str]) -> None:
        """Place the asked amounts of these classes at random, the largest first."""
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
                f"particles: {sum(counts.values())} would fill {asked / max(room, 1):.0%} of the ice, and about 35 % can "
                "be filled at random; ask for fewer particles, a larger shape or thicker ice"
            )
        for label, count in counts.items():
            for done in range(count):
                if not self._place_at_random(label):
                    raise SimulationError(self._no_room(label, done, count))

    def _fill_share(self, crowding: float, body_voxel: Mapping[str, int]) -> None:
        """Place particles until they fill a share of the ice, what was filled before included.

        What a class lacks or has too much, the next makes up for, so that the sum is as near as the smallest body.
        """
        amounts = self._settings.amounts
        whole = sum(amounts[label] * volume for label, volume in body_voxel.items())
        missing = max(crowding * self._canvas.room_voxel - self._canvas.filled_voxel, 0)
        goal = float(self._canvas.filled_voxel)
        for label, volume in body_voxel.items():
            goal += missing * amounts[label] * volume / whole
            done = 0
            while self._canvas.filled_voxel + volume / 2 < goal:
                if not self._place_at_random(label):
                    lacking = round((goal - self._canvas.filled_voxel) / volume)
                    raise SimulationError(self._no_room(label, done, done + max(lacking, 1)))
                done += 1

    def place(self, picks: Sequence[Picks]) -> None:
        """Place particles where they were picked, the largest first."""
        for some in sorted(picks, key=lambda some: (-self._body_voxel(some.label), some.label)):
            centers_voxel = some.centers_angstrom / self._settings.voxel_size_angstrom
            _refuse_outside(some, centers_voxel, self._settings.shape_voxel)
            for index, center in enumerate(centers_voxel):
                known = None if some.rotations is None else some.rotations[index]
                self._place_at(some.label, center, known)

    def specimen(self) -> Specimen:
        """Return what was made, with dissolved protein in what is left of the ice."""
        if concentration := self._settings.surroundings.background_protein_mg_per_ml:
            add_background(
                self._canvas.density,
                self._canvas.solid,
                concentration,
                self._settings.voxel_size_angstrom,
                self._canvas.slab,
                self._stream,
            )
        placed = {label: self._collect(label) for label in self._particles}
        return Specimen(
            density=self._canvas.density,
            instances=self._canvas.instances,
            placed=[particles for label, particles in placed.items() if label not in self._distractors],
            distractors=[particles for label, particles in placed.items() if label in self._distractors],
            voxel_size_angstrom=self._settings.voxel_size_angstrom,
            crowding=self._canvas.filled_voxel / max(self._canvas.room_voxel, 1),
        )

    def _body_voxel(self, label: str) -> int:
        body = draw_body(self._structures[label], self._settings.voxel_size_angstrom, np.eye(3), np.zeros(3))
        return len(body.offsets)

    def _place_at_random(self, label: str) -> bool:
        """Place one particle; say whether there was room. Another orientation is drawn only where one fits nowhere."""
        fewest, most = _ROTATIONS
        for _ in range(max(fewest, min(most, _SEARCHED_TILES // self._canvas.tile_count))):
            rotation = self._random_rotation()
            shift = self._generator.uniform(-0.5, 0.5, size=3)
            body = draw_body(self._structures[label], self._settings.voxel_size_angstrom, rotation, shift)
            place = self._canvas.find_place(body, self._generator)
            if place is not None:
                self._put(label, body, place)
                return True
        return False

    def _place_at(
        self, label: str, center_voxel: Float[np.ndarray, "3"], known: Float[np.ndarray, "3 3"] | None
    ) -> None:
        """Place one particle at a given centre, in the known or in the least overlapping orientation."""
        z, y, x = np.rint(center_voxel).astype(int).tolist()
        place = (z, y, x)
        best: tuple[int, Body] | None = None
        for _ in range(1 if known is not None else _LIKE_ROTATIONS):
            rotation = self._random_rotation() if known is None else known
            shift = center_voxel - place
            body = draw_body(self._structures[label], self._settings.voxel_size_angstrom, rotation, shift)
            overlap = self._canvas.overlap(body, place)
            if best is None or overlap < best[0]:
                best = (overlap, body)
            if not overlap:
                break
        assert best is not None  # at least one was tried
        self._put(label, best[1], place)

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
        center_angstrom = (np.asarray(place) + body.shift_voxel) * self._settings.voxel_size_angstrom
        self._particles[label].append((center_angstrom, body.rotation, instance))

    def _collect(self, label: str) -> PlacedParticles:
        put = self._particles[label]
        return PlacedParticles(
            self._structures[label],
            np.array([center for center, _, _ in put]).reshape(-1, 3),
            np.array([rotation for _, rotation, _ in put]).reshape(-1, 3, 3),
            np.array([instance for _, _, instance in put], dtype=np.int64),
        )

    def _no_room(self, label: str, done: int, wanted: int) -> str:
        extent = [edge * self._settings.voxel_size_angstrom for edge in self._settings.shape_voxel]
        extent[0] = self._settings.ice_thickness_angstrom or extent[0]
        share = self._canvas.filled_voxel / max(self._canvas.room_voxel, 1)
        return (
            f"{label}: room for {done} of {wanted} in ice of {joined(extent)} A (z,y,x), which is then {share:.1%} full; "
            f"ask for {'fewer particles' if self._settings.crowding is None else 'less crowding'}, a larger shape or thicker ice"
        )


def _refuse_outside(picks: Picks, centers_voxel: Float[np.ndarray, "n 3"], shape_voxel: tuple[int, int, int]) -> None:
    """Refuse picks whose centre is in no voxel of the tomogram, or is not known."""
    inside = ((centers_voxel > -0.5) & (centers_voxel < np.asarray(shape_voxel) - 0.5)).all(axis=1)
    if not inside.all():
        raise PickError(
            f"{picks.label}: {int((~inside).sum())} of {len(picks)} picks of {picks.run} lie outside its tomogram of "
            f"{joined(shape_voxel)} voxels; check its voxel size, or take them out of the picks"
        )
