"""The volumes that a report shows: some of each class, drawn and not chosen, and the closest pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from frazil.core.seeds import numpy_generator
from frazil.evaluation.examples.files import Examples, to_grey
from frazil.evaluation.scores import ClosePair
from frazil.evaluation.stages.memorisation import pair_volumes
from frazil.evaluation.volumes import Sets, VolumeSet

PER_CLASS = 5
PAIRS = 10
PERCENTILES = (0.5, 99.5)
"""Of the held-out voxels: black and white of all pictures."""


def make_examples(sets: Sets, close_pairs: Sequence[ClosePair]) -> Examples:
    """Draw up to 5 generated and 5 held-out volumes of each generated class by the seed, and cut slices of the closest pairs."""
    low, high = (float(value) for value in np.percentile(sets.held_out.volumes[:, ::2, ::2, ::2], PERCENTILES))
    classes = sets.generated.classes
    generated = _drawn(sets.generated, classes, sets.seed, "generated")
    real = _drawn(sets.held_out, classes, sets.seed, "real")
    samples, boxes = _pairs(sets, close_pairs[:PAIRS])
    return Examples(
        generated=to_grey(generated.volumes, low, high),
        generated_names=generated.names,
        generated_labels=tuple(map(str, generated.labels)),
        real=to_grey(real.volumes, low, high),
        real_names=real.names,
        real_labels=tuple(map(str, real.labels)),
        pair_sample=_slices(samples, low, high),
        pair_box=_slices(boxes, low, high),
        grey_low=low,
        grey_high=high,
    )


def _drawn(volumes: VolumeSet, classes: Sequence[str], seed: int, purpose: str) -> VolumeSet:
    rows: list[int] = []
    for label in classes:
        own = np.flatnonzero(volumes.labels == label)
        drawn = numpy_generator(seed, "evaluation examples", purpose, label).permutation(own)[:PER_CLASS]
        rows.extend(sorted(map(int, drawn)))
    return volumes.subset(rows)


def _pairs(
    sets: Sets, close_pairs: Sequence[ClosePair]
) -> tuple[Float32[np.ndarray, "p z y x"], Float32[np.ndarray, "p z y x"]]:
    """Return the samples of the pairs, and their boxes turned and shifted onto them."""
    edges = sets.generated.volumes.shape[1:]
    samples, boxes = np.empty((2, len(close_pairs), *edges), dtype=np.float32)
    for place, pair in enumerate(close_pairs):
        samples[place], boxes[place] = pair_volumes(sets, pair)
    return samples, boxes


def _slices(volumes: Float32[np.ndarray, "p z y x"], low: float, high: float) -> UInt8[np.ndarray, "p 3 u v"]:
    """Cut the central XY, XZ and YZ slices."""
    middle = volumes.shape[1] // 2
    slices = [volumes[:, middle], volumes[:, :, middle], volumes[:, :, :, middle]]
    return to_grey(np.stack(slices, axis=1), low, high)
