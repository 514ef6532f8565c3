"""The voxels that `frazil evaluate` compares: read, brought to one grid, z-scored over the measured voxels, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from frazil.core.console import progress_bar
from frazil.core.errors import RequestError, SourceError, StoreError
from frazil.core.records import SAME_VOXEL_SIZE
from frazil.dataset.store import BoxStore
from frazil.evaluation.inputs.generated import GeneratedVolumes, box_names, class_counts
from frazil.evaluation.inputs.grid import Grid, Voxels, on_grid
from frazil.evaluation.metrics.metric import MINIMUM
from frazil.evaluation.scores import SetDescription
from frazil.evaluation.volumes import Sets, VolumeSet
from frazil.volume.intensity import moments, z_score

FEW = 50  # with fewer samples, intervals are wide
FEW_RUNS = 5  # with fewer held-out tomograms, a warning says that intervals, which are over boxes, hold for these alone

_SAME_Z_SCORE = 1e-3
"""Two volumes are the same if no voxel differs by more, in standard deviations: z-scoring twice rounds by less."""

_PROBES = 64  # voxels that are compared before the whole volumes are, which saves that where nothing is the same


@dataclass(frozen=True)
class Compared:
    """What is compared, its description, and what a reader should know before all numbers."""

    sets: Sets
    generated: SetDescription
    held_out: SetDescription
    training: SetDescription
    warnings: tuple[str, ...]
    curves: SetDescription | None = None


def read_sets(real: BoxStore | None, generated: GeneratedVolumes, grid: Grid, *, seed: int) -> Compared:
    """Read all volumes, of all classes, onto `common_grid`: each stage compares those that both sides have.

    Without real boxes, both real sets are empty.
    """
    with progress_bar() as bar:
        task = bar.add_task("reading volumes", total=len(generated) + (len(real) if real is not None else 0))
        step = partial(bar.advance, task)
        made = _generated_volumes(generated, grid, step)
        held_out = training = made.subset([])
        if real is not None:
            held_out = _real_volumes(real, "validation", grid, step)
            if not set(held_out.classes) & set(made.classes):
                raise RequestError(
                    f"{real.path}: no held-out box of {', '.join(made.classes)}; curate it again with other validation runs"
                )
            training = _real_volumes(real, "train", grid, step)
        sets = Sets(made, held_out, training, seed)
    warnings = [*(_warnings(real, generated, grid, sets) if real is not None else generated.warnings)]
    if len(made) < FEW:
        warnings.append(
            f"{len(made)} samples are few: intervals are wide, and some numbers need {FEW} or more; sample more"
        )

    def described(volumes: VolumeSet, source: GeneratedVolumes | BoxStore | None, **fields: Any) -> SetDescription:
        return SetDescription(
            path=str(source.path) if source is not None else "none",
            digest=source.digest if source is not None else None,
            voxel_size_angstrom=grid.voxel_size_angstrom,
            box_size_voxel=grid.box_size_voxel,
            counts=class_counts(volumes.labels),
            **fields,
        )

    simulated = real is not None and real.description.simulated
    return Compared(
        sets,
        described(made, generated, kind=generated.kind, note=generated.note, trained_on=generated.trained_on),
        described(held_out, real, kind="box store, held-out boxes", simulated=simulated),
        described(training, real, kind="box store, training boxes", simulated=simulated),
        tuple(warnings),
    )


def identical(some: Float32[np.ndarray, "n z y x"], others: Float32[np.ndarray, "m z y x"]) -> Bool[np.ndarray, "n"]:
    """Return which of `some` are voxel by voxel among `others`; both are z-scored."""
    one, two = some.reshape(len(some), -1), others.reshape(len(others), -1)
    probes = np.linspace(0, one.shape[1] - 1, _PROBES).astype(int)
    there = two[:, probes]
    found = np.zeros(len(one), dtype=bool)
    for row, volume in enumerate(one):
        alike = np.abs(there - volume[probes]).max(axis=1) < _SAME_Z_SCORE
        found[row] = any(np.abs(two[other] - volume).max() < _SAME_Z_SCORE for other in np.flatnonzero(alike))
    return found


def _generated_volumes(generated: GeneratedVolumes, grid: Grid, step: Callable[[], None]) -> VolumeSet:
    volumes = np.empty((len(generated), *[grid.box_size_voxel] * 3), dtype=np.float32)
    not_finite: list[str] = []
    constant: list[str] = []
    for row, name in enumerate(generated.names):
        volume, measured = generated.read(row)
        if not np.isfinite(volume if measured is None else volume[measured]).all():
            not_finite.append(name)
        elif (scored := _scored((volume, _not_padded(volume, measured)), generated.grid, grid)) is None:
            constant.append(name)
        else:
            volumes[row] = scored
        step()
    for what, names in (("NaN or infinite voxels", not_finite), ("the same value in every voxel", constant)):
        if names:
            raise SourceError(
                f"{generated.path}: {what} in {len(names)} of {len(generated)} volumes, e.g. {names[0]}; "
                "generate them again or move them away"
            )
    return VolumeSet(volumes, np.array(generated.labels), generated.names, grid.voxel_size_angstrom)


def _real_volumes(real: BoxStore, split: str, grid: Grid, step: Callable[[], None]) -> VolumeSet:
    rows = real.particles.iloc[real.boxes(split)]
    old = Grid.of_store(real)
    volumes = np.empty((len(rows), *[grid.box_size_voxel] * 3), dtype=np.float32)
    for row, box in enumerate(map(int, rows["box"])):
        volume, measured = real.volume(box), real.measured(box)
        if (scored := _scored((volume, measured), old, grid)) is not None:
            volumes[row] = scored
        else:
            raise StoreError(
                f"{real.path}: box {box} has no measured voxels in its middle {grid.box_size_voxel}^3; curate it again with "
                f"boxes of {grid.box_size_voxel}"
            )
        step()
    labels = rows["label"].to_numpy(dtype=str)
    return VolumeSet(volumes, labels, box_names(real, rows["box"]), grid.voxel_size_angstrom)


def _not_padded(
    volume: Float32[np.ndarray, "z y x"], measured: Bool[np.ndarray, "z y x"] | None
) -> Bool[np.ndarray, "z y x"] | None:
    """Return which voxels were measured; where that is not known, all but planes of one value at the faces."""
    varied = [np.flatnonzero(np.ptp(volume, axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if measured is not None or not all(len(planes) for planes in varied):
        return measured
    inside = np.zeros(volume.shape, dtype=bool)
    inside[tuple(slice(planes[0], planes[-1] + 1) for planes in varied)] = True
    return inside


def _scored(voxels: Voxels, old: Grid, new: Grid) -> Float32[np.ndarray, "z y x"] | None:
    """Bring a box to the new grid and z-score it; None where nothing is left to see.

    First over the measured voxels, the others becoming their mean, then over all: a generated volume that imitates padding with
    its mean does not say where, so real and generated ones are scaled by what both have.
    """
    volume, measured = voxels
    measured = None if measured is None or measured.all() else measured
    if old != new:
        volume, measured = on_grid((volume, measured), old, new)
    seen = volume if measured is None else volume[measured]
    if seen.size < 2 or seen.min() == seen.max():
        return None
    scored = z_score(volume, moments(volume, measured), measured)
    return scored if measured is None else z_score(scored, moments(scored))


def _warnings(real: BoxStore, generated: GeneratedVolumes, grid: Grid, sets: Sets) -> Iterator[str]:
    path, there, cropped = generated.path, generated.grid, f"cropped to their middle {grid.box_size_voxel}^3 voxels"
    yield from generated.warnings
    if there.voxel_size_angstrom > grid.voxel_size_angstrom * (1 + SAME_VOXEL_SIZE):
        yield (
            f"{path}: voxels of {there.voxel_size_angstrom:g} A were resampled to {grid.voxel_size_angstrom:g} A; finer detail, "
            "which they cannot have, counts against them. To compare at their voxel size, curate the real boxes "
            f"resampled to {there.voxel_size_angstrom:g} A"
        )
    if grid.box_size_voxel != real.description.box_size_voxel:
        yield f"{real.path}: real boxes were {cropped}"
    if there.box_size_voxel * there.voxel_size_angstrom > grid.box_size_voxel * grid.voxel_size_angstrom * 1.01:
        yield f"{path}: generated volumes were {cropped}"
    made, held_out = class_counts(sets.generated.labels), class_counts(sets.held_out.labels)
    if absent := [label for label in real.description.labels if label not in made]:
        yield f"not generated, so not compared: {', '.join(absent)}"
    if unseen := [label for label in made if label not in held_out]:
        yield f"no held-out boxes of {', '.join(unseen)}: these samples count only for variety and memorization"
    if few := [f"{label} ({count})" for label, count in made.items() if count < MINIMUM]:
        yield f"fewer than {MINIMUM} samples of {', '.join(few)}: no separate numbers for these classes"
    held_out_boxes = real.particles.iloc[real.boxes("validation")]
    if (runs := held_out_boxes["run"].nunique()) < FEW_RUNS:
        tomograms = "one tomogram" if runs == 1 else f"{runs} tomograms"
        yield f"held-out boxes come from {tomograms}: intervals hold for these alone"
    yield from _refuse_copies(path, real.path, sets)
    if padded := int((held_out_boxes["padding"] > 0).sum()):
        yield (
            f"{padded} of {len(sets.held_out)} held-out boxes contain voxels that were not measured, which are flat in the "
            "comparison; curating with max padding 0 leaves such boxes out"
        )


def _refuse_copies(path: Path, real: Path, sets: Sets) -> Iterator[str]:
    """Refuse generated volumes that are all real boxes; warn where some are held-out ones (memorization looks for training boxes)."""
    for others, what in ((sets.training, "training"), (sets.held_out, "held-out")):
        same = identical(sets.generated.volumes, others.volumes)
        if same.all():
            raise RequestError(
                f"{path}: all {len(same)} volumes are {what} boxes of {real}, voxel by voxel; nothing was generated, "
                "give the folder of the samples"
            )
        if same.any() and others is sets.held_out:
            first = sets.generated.names[int(np.flatnonzero(same)[0])]
            yield (
                f"{path}: {int(same.sum())} of {len(same)} volumes are held-out boxes, voxel by voxel, e.g. {first}; they would be "
                "compared with themselves, so leave them out"
            )
