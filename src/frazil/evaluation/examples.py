"""`examples.npz`: the volumes that a report shows, as bytes on one gray scale: some of each class, at random, and the closest pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from frazil.core.errors import SourceError
from frazil.core.files import atomic_path
from frazil.core.reading import one_line
from frazil.core.seeds import numpy_generator
from frazil.evaluation.scores import ClosePair
from frazil.evaluation.stages.memorisation import pair_volumes
from frazil.evaluation.volumes import Sets, VolumeSet
from frazil.io.npz import read_npz

SCHEMA_VERSION = 1
KIND = "frazil examples"

_LARGEST_BYTES = 1 << 30
PER_CLASS = 5
PAIRS = 10
PERCENTILES = (0.5, 99.5)  # of the held-out voxels: black and white of all pictures


@dataclass(frozen=True)
class ExampleSet:
    """A few volumes of each class."""

    volumes: UInt8[np.ndarray, "n z y x"]
    names: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Examples:
    """What the gallery, the viewer and the pictures of close pairs of a report show.

    A byte b means the z-score ``grey_low + b / 255 * (grey_high - grey_low)``.

    Parameters
    ----------
    real : held out.
    pair_sample : central XY, XZ and YZ slices of the generated volume of each of the closest pairs, closest first.
    pair_box : the same of the training box, turned and shifted onto it.
    """

    generated: ExampleSet
    real: ExampleSet
    pair_sample: UInt8[np.ndarray, "p 3 u v"]
    pair_box: UInt8[np.ndarray, "p 3 u v"]
    grey_low: float
    grey_high: float

    @property
    def sets(self) -> dict[str, ExampleSet]:
        """The volumes by what they are."""
        return {"generated": self.generated, "real": self.real}

    @property
    def labels(self) -> list[str]:
        """All classes, sorted."""
        return sorted({*self.generated.labels, *self.real.labels})


def make_examples(sets: Sets, close_pairs: Sequence[ClosePair]) -> Examples:
    """Draw up to 5 generated and 5 held-out volumes of each generated class by the seed, and cut slices of the closest pairs."""
    of = sets.held_out if len(sets.held_out) else sets.generated
    low, high = (float(value) for value in np.percentile(of.volumes[:, ::2, ::2, ::2], PERCENTILES))
    pairs = close_pairs[:PAIRS]
    samples, boxes = np.empty((2, len(pairs), *sets.generated.volumes.shape[1:]), dtype=np.float32)
    for place, pair in enumerate(pairs):
        samples[place], boxes[place] = pair_volumes(sets, pair)

    def drawn(volumes: VolumeSet, purpose: str) -> ExampleSet:
        rows: list[int] = []
        for label in sets.generated.classes:
            own = np.flatnonzero(volumes.labels == label)
            chosen = numpy_generator(sets.seed, "evaluation examples", purpose, label).permutation(own)[:PER_CLASS]
            rows.extend(sorted(map(int, chosen)))
        some = volumes.subset(rows)
        return ExampleSet(to_grey(some.volumes, low, high), some.names, tuple(map(str, some.labels)))

    return Examples(
        generated=drawn(sets.generated, "generated"),
        real=drawn(sets.held_out, "real"),
        pair_sample=_slices(samples, low, high),
        pair_box=_slices(boxes, low, high),
        grey_low=low,
        grey_high=high,
    )


def _slices(volumes: Float32[np.ndarray, "p z y x"], low: float, high: float) -> UInt8[np.ndarray, "p 3 u v"]:
    middle = volumes.shape[1] // 2
    slices = [volumes[:, middle], volumes[:, :, middle], volumes[:, :, :, middle]]
    return to_grey(np.stack(slices, axis=1), low, high)


def to_grey(volumes: np.ndarray, low: float, high: float) -> UInt8[np.ndarray, "..."]:
    """Return z-scores as bytes: `low` and below is 0, `high` and above is 255."""
    scaled = (np.asarray(volumes, dtype=np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    grey: UInt8[np.ndarray, "..."] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return grey


def binned(grey: UInt8[np.ndarray, "..."], factor: int) -> UInt8[np.ndarray, "..."]:
    """Return the means of blocks of `factor` voxels along each axis; what does not fill a block is left out."""
    edges = [edge // factor for edge in grey.shape]
    kept = grey[tuple(slice(edge * factor) for edge in edges)]
    blocks = kept.reshape([part for edge in edges for part in (edge, factor)])
    means: UInt8[np.ndarray, "..."] = np.rint(blocks.mean(axis=tuple(range(1, blocks.ndim, 2)))).astype(np.uint8)
    return means


def write_examples(path: Path, examples: Examples) -> None:
    """Write the examples, compressed, whole or not at all; nothing is pickled."""
    arrays: dict[str, Any] = {}
    for kind, own in examples.sets.items():
        arrays[kind] = own.volumes
        arrays[f"{kind}_names"] = np.array(own.names, dtype=np.str_)
        arrays[f"{kind}_labels"] = np.array(own.labels, dtype=np.str_)
    for name in ("pair_sample", "pair_box", "grey_low", "grey_high"):
        arrays[name] = np.asarray(getattr(examples, name))
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, schema_version=np.int64(SCHEMA_VERSION), kind=np.asarray(KIND), **arrays)


def read_examples(path: Path) -> Examples:
    """Read what `write_examples` wrote; `SourceError` where that is not possible."""
    if not path.exists():
        raise SourceError(f"{path}: no such file; make it with frazil evaluate")
    arrays = read_npz(path, {}, otherwise=_LARGEST_BYTES, remedy="run frazil evaluate again")
    if str(arrays.pop("kind", None)) != KIND:
        raise SourceError(f"{path}: not {KIND}; name a folder that frazil evaluate wrote")
    try:
        if (version := int(arrays.pop("schema_version"))) > SCHEMA_VERSION:
            raise SourceError(f"{path}: schema version {version} was written by a newer frazil; upgrade frazil")
        sets = {
            kind: ExampleSet(arrays[kind], *(tuple(arrays[f"{kind}_{part}"].tolist()) for part in ("names", "labels")))
            for kind in ("generated", "real")
        }
        low, high = float(arrays["grey_low"]), float(arrays["grey_high"])
        return Examples(sets["generated"], sets["real"], arrays["pair_sample"], arrays["pair_box"], low, high)
    except KeyError as missing:
        raise SourceError(f"{path}: damaged, {missing} is missing; run frazil evaluate again") from None
    except (TypeError, ValueError) as fault:
        raise SourceError(f"{path}: damaged ({one_line(fault)}); run frazil evaluate again") from None
