"""The sets of volumes that an evaluation compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Int64

from frazil.core.seeds import numpy_generator


@dataclass(frozen=True)
class VolumeSet:
    """Volumes of one voxel and box size, each z-scored over its measured voxels.

    Parameters
    ----------
    labels : `(n,)` class names.
    names : what a reader finds each by: a file, a box of a store.
    """

    volumes: Float32[np.ndarray, "n z y x"]
    labels: np.ndarray
    names: tuple[str, ...]
    voxel_size_angstrom: float

    def __len__(self) -> int:
        return len(self.volumes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        return tuple(sorted({str(label) for label in self.labels}))

    def subset(self, rows: Sequence[int] | np.ndarray) -> VolumeSet:
        """Return the volumes at `rows`."""
        rows = np.asarray(rows, dtype=np.int64)
        names = tuple(self.names[row] for row in rows)
        return VolumeSet(self.volumes[rows], self.labels[rows], names, self.voxel_size_angstrom)

    def of(self, label: str) -> VolumeSet:
        """Return the volumes of one class."""
        return self.subset(np.flatnonzero(self.labels == label))


@dataclass(frozen=True)
class Sets:
    """What an evaluation compares, and its baselines.

    Parameters
    ----------
    held_out : real, unseen by the generator: the reference of every metric.
    training : real, all training boxes.
    """

    generated: VolumeSet
    held_out: VolumeSet
    training: VolumeSet
    seed: int = 0

    @property
    def groups(self) -> tuple[str | None, ...]:
        """What is judged: everything (None), and each class of the generated volumes if there are several."""
        classes = self.generated.classes
        return (None, *classes) if len(classes) > 1 else (None,)

    def training_like_generated(self) -> VolumeSet:
        """Return training boxes in the numbers of the generated set, class by class, or all of a class that has fewer."""
        return self.training.subset(self.training_rows_like_generated())

    def training_rows_like_generated(self) -> Int64[np.ndarray, "n"]:
        """Return the rows of `training` that `training_like_generated` takes."""
        random = numpy_generator(self.seed, "evaluation training subset")
        rows = []
        for label in self.generated.classes:
            own = np.flatnonzero(self.training.labels == label)
            wanted = int((self.generated.labels == label).sum())
            rows.append(random.permutation(own)[:wanted])
        return np.sort(np.concatenate(rows))

    def noise(self) -> VolumeSet:
        """Return white noise with the labels of the generated set."""
        random = numpy_generator(self.seed, "evaluation noise")
        volumes = random.standard_normal(self.generated.volumes.shape, dtype=np.float32)
        names = tuple(f"noise {row}" for row in range(len(volumes)))
        return replace(self.generated, volumes=volumes, names=names)

    def shuffled(self) -> VolumeSet:
        """Return `training_like_generated` with its labels shuffled: real volumes, wrong classes."""
        real = self.training_like_generated()
        labels = numpy_generator(self.seed, "evaluation shuffle").permutation(real.labels)
        return replace(real, labels=labels)
