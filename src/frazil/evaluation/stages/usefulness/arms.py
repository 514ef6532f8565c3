"""The training sets that usefulness compares.

All are trained for the same number of steps on batches of the same size, with the same initial weights for a seed: more volumes
are more variety, not more training. All real volumes but those of ``all_real`` are in the numbers of the generated ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from frazil.core.seeds import derive_seed, numpy_generator
from frazil.evaluation.stages.usefulness.classifier import SHIFT_VOXEL, window_edge
from frazil.evaluation.stages.usefulness.rivals import class_radii_voxel, copy_paste
from frazil.evaluation.volumes import Sets, VolumeSet
from frazil.volume.crop import crop_center
from frazil.volume.turns import Turn


@dataclass(frozen=True)
class Arm:
    """One training set: its name (see `Plan`), what makes it, the classes to tell apart, and the turns it is shown in."""

    name: str
    volumes: Callable[[], VolumeSet]
    classes: tuple[str, ...]
    turns: tuple[Turn, ...] = ("identity",)


class CentralCubes:
    """The central cubes of the volumes of `whole`, as far as a classifier sees them: a fifth of a box of 64^3."""

    def __init__(self, sets: Sets) -> None:
        box = sets.generated.volumes.shape[-1]
        self.whole = sets
        self.window_voxel = window_edge(box)
        self.edge_voxel = min(box, self.window_voxel + 2 * SHIFT_VOXEL)
        generated, held_out, training = map(self._cube, (sets.generated, sets.held_out, sets.training))
        self.sets = Sets(generated, held_out, training, sets.seed)

    def _cube(self, whole: VolumeSet) -> VolumeSet:
        cubes = np.ascontiguousarray(crop_center(whole.volumes, self.edge_voxel))
        # named by their rows, so that the whole boxes are found again
        return replace(whole, volumes=cubes, names=tuple(map(str, range(len(whole)))))

    @cached_property
    def _radii_voxel(self) -> dict[str, float]:
        return class_radii_voxel(self.whole.training)

    def pasted(self, real: VolumeSet, seed: int) -> VolumeSet:
        """Return as many copy-pasted cubes as there are in `real`, a part of `sets.training`; whole boxes are pasted."""
        return copy_paste(
            self.whole.training,
            [int(name) for name in real.names],
            radii_voxel=self._radii_voxel,
            edge_voxel=self.edge_voxel,
            seed=derive_seed(self.whole.seed, "usefulness", seed),
        )


def of_classes(volumes: VolumeSet, classes: Sequence[str]) -> VolumeSet:
    """Return the volumes of some classes."""
    return volumes.subset(np.flatnonzero(np.isin(volumes.labels, classes)))


def joined(one: VolumeSet, other: VolumeSet) -> VolumeSet:
    """Return the volumes of both."""
    volumes, labels = (np.concatenate(both) for both in ((one.volumes, other.volumes), (one.labels, other.labels)))
    return VolumeSet(volumes, labels, one.names + other.names, one.voxel_size_angstrom)


def share_name(share: float) -> str:
    """Return the name of the arm of real volumes and a share of generated ones."""
    return f"generated_{round(100 * share)}"


@dataclass(frozen=True)
class Plan:
    """Which training sets there are.

    ``generated`` and ``real`` in equal numbers, and as floors ``noise`` and ``shuffled``; ``generated_25``: real and a quarter as
    many generated; ``copy_paste`` and ``turns``: real and a rival; if there are more real volumes than generated ones,
    ``all_real`` and with all generated ones ``all_generated``; ``every_class``: all real volumes of all classes, if some were not
    generated.

    Parameters
    ----------
    real_classes : that can be trained and tested on real volumes.
    classes : those of them that were generated; with fewer than two there is ``every_class`` alone.
    shares : of generated volumes that are added, as shares of the real count; those that would take more than there are
        have no arm.
    floors : with noise and shuffled labels.
    turns : that keep the wedge.
    """

    cubes: CentralCubes
    real_classes: tuple[str, ...]
    classes: tuple[str, ...]
    shares: tuple[float, ...]
    floors: bool
    turns: tuple[Turn, ...]

    @cached_property
    def real(self) -> VolumeSet:
        """Real volumes in the numbers of the generated ones, class by class, as far as there are enough."""
        return of_classes(self.cubes.sets.training_like_generated(), self.classes)

    @cached_property
    def generated(self) -> VolumeSet:
        """The generated volumes."""
        return of_classes(self.cubes.sets.generated, self.classes)

    @cached_property
    def held_out(self) -> VolumeSet:
        """The held-out volumes that all arms but ``every_class`` are tested on."""
        return of_classes(self.cubes.sets.held_out, self.classes)

    @cached_property
    def equal(self) -> VolumeSet:
        """Generated volumes in the numbers of `real`, class by class: fewer where training boxes are fewer."""
        random = numpy_generator(self.cubes.sets.seed, "usefulness equal count")
        rows = []
        for name in self.classes:
            own = np.flatnonzero(self.generated.labels == name)
            rows.append(random.permutation(own)[: int((self.real.labels == name).sum())])
        return self.generated.subset(np.sort(np.concatenate(rows)))

    @cached_property
    def all_real(self) -> VolumeSet:
        """All training boxes of the classes that were generated."""
        return of_classes(self.cubes.sets.training, self.classes)

    def added(self, share: float) -> int:
        """Return how many generated volumes a share is."""
        return round(share * len(self.real))

    @property
    def judge(self) -> str:
        """The arm whose classifiers say of which class a generated volume is: all real volumes of all classes."""
        if self.classes != self.real_classes or len(self.classes) < 2:
            return "every_class"
        return "all_real" if len(self.all_real) > len(self.real) else "real"

    def arms(self, seed: int) -> list[Arm]:
        """Return the training sets of one seed: it draws what is added (a smaller share is part of a larger one) and pasted."""
        sets, classes, real = self.cubes.sets, self.classes, self.real
        found = []
        if len(classes) > 1:
            found += [Arm("generated", lambda: self.equal, classes), Arm("real", lambda: real, classes)]
            if self.floors:
                found.append(Arm("noise", lambda: of_classes(sets.noise(), classes), classes))
                found.append(Arm("shuffled", lambda: of_classes(sets.shuffled(), classes), classes))
            order = numpy_generator(sets.seed, "usefulness draw", seed).permutation(len(self.generated))
            for share in self.shares:
                if (count := self.added(share)) <= len(order):
                    mixed = partial(lambda rows: joined(real, self.generated.subset(rows)), order[:count])
                    found.append(Arm(share_name(share), mixed, classes))
            found.append(Arm("copy_paste", lambda: joined(real, self.cubes.pasted(real, seed)), classes))
            found.append(Arm("turns", lambda: real, classes, self.turns))
            if len(self.all_real) > len(real):
                found.append(Arm("all_real", lambda: self.all_real, classes))
                found.append(Arm("all_generated", lambda: joined(self.all_real, self.generated), classes))
        if self.judge == "every_class":
            everything = partial(of_classes, sets.training, self.real_classes)
            found.append(Arm("every_class", everything, self.real_classes))
        return found
