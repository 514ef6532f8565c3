"""The voxels that `frazil evaluate` compares: read, brought to one grid, z-scored over the measured voxels, and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from frazil.core.errors import RequestError, SourceError, StoreError
from frazil.core.records import SAME_VOXEL_SIZE
from frazil.dataset.store import BoxStore
from frazil.evaluation.inputs.generated import GeneratedVolumes, box_names, class_counts
from frazil.evaluation.inputs.grid import Grid, Voxels, on_grid
from frazil.evaluation.scores import SetDescription
from frazil.evaluation.volumes import Sets, VolumeSet
from frazil.volume.intensity import moments, z_score

FEW_OF_A_CLASS = 5
"""A class with fewer samples has no numbers of its own."""

FEW = 50
"""With fewer samples, intervals are wide."""

FEW_RUNS = 5
"""With fewer held-out tomograms, a warning says that intervals, which are over boxes, hold for these alone."""

_SAME_Z_SCORE = 1e-3
"""Two volumes are the same if no voxel differs by more, in standard deviations: z-scoring twice rounds by less."""

_PROBES = 64
"""Voxels that are compared before the whole volumes are."""


@dataclass(frozen=True)
class Compared:
    """What is compared, and how it is described.

    Parameters
    ----------
    sets : the volumes.
    generated, held_out, training : their descriptions.
    warnings : what a reader should know before all numbers.
    """

    sets: Sets
    generated: SetDescription
    held_out: SetDescription
    training: SetDescription
    warnings: tuple[str, ...]


def read_sets(
    real: BoxStore,
    generated: GeneratedVolumes,
    grid: Grid,
    *,
    seed: int,
    on_volume: Callable[[], None] = lambda: None,
) -> Compared:
    """Read all volumes, of all classes: each stage compares those that both sides have.

    Parameters
    ----------
    grid : from `frazil.evaluation.inputs.grid.common_grid`.
    seed : of everything that is drawn later.
    on_volume : called after each volume.

    Raises
    ------
    SourceError : generated volumes that are unreadable, not finite or constant.
    RequestError : no held-out box of a generated class, or generated volumes that are the training boxes.
    StoreError : the real store is damaged.
    """
    made = VolumeSet(
        _generated_volumes(generated, grid, on_volume),
        np.array(generated.labels),
        generated.names,
        grid.voxel_size_angstrom,
    )
    held_out, padded = _real_volumes(real, "validation", grid, on_volume)
    if not set(held_out.classes) & set(made.classes):
        raise RequestError(
            f"{real.path}: no held-out box of {', '.join(made.classes)}; curate it again with other --validation-run"
        )
    training, _ = _real_volumes(real, "train", grid, on_volume)
    sets = Sets(made, held_out, training, seed)
    warnings = [
        *_origin_warnings(real),
        *generated.warnings,
        *_grid_warnings(real, generated, grid),
        *_class_warnings(real, sets),
        *_run_warnings(real),
        *_refuse_copies(generated.path, real.path, sets),
    ]
    if padded:
        warnings.append(
            f"{padded} of {len(held_out)} held-out boxes contain voxels that were not measured, which are flat in the comparison; "
            "frazil curate --max-padding 0 leaves such boxes out"
        )

    def described(volumes: VolumeSet, source: GeneratedVolumes | BoxStore, **fields: Any) -> SetDescription:
        return SetDescription(
            path=str(source.path),
            digest=source.digest,
            voxel_size_angstrom=grid.voxel_size_angstrom,
            box_size_voxel=grid.box_size_voxel,
            counts=class_counts(volumes.labels),
            **fields,
        )

    return Compared(
        sets,
        described(made, generated, kind=generated.kind, note=generated.note, trained_on=generated.trained_on),
        described(held_out, real, kind="box store, held-out boxes"),
        described(training, real, kind="box store, training boxes"),
        tuple(warnings),
    )


def identical(some: Float32[np.ndarray, "n z y x"], others: Float32[np.ndarray, "m z y x"]) -> Bool[np.ndarray, "n"]:
    """Return which of `some` are voxel by voxel among `others`, whatever their scale: both are z-scored.

    A few voxels of each are compared first, so that it takes no time where nothing is the same.
    """
    one, two = some.reshape(len(some), -1), others.reshape(len(others), -1)
    probes = np.linspace(0, one.shape[1] - 1, _PROBES).astype(int)
    there = two[:, probes]
    found = np.zeros(len(one), dtype=bool)
    for row, volume in enumerate(one):
        alike = np.abs(there - volume[probes]).max(axis=1) < _SAME_Z_SCORE
        found[row] = any(np.abs(two[other] - volume).max() < _SAME_Z_SCORE for other in np.flatnonzero(alike))
    return found


def _generated_volumes(
    generated: GeneratedVolumes, grid: Grid, step: Callable[[], None]
) -> Float32[np.ndarray, "n z y x"]:
    volumes = np.empty((len(generated), *[grid.box_size_voxel] * 3), dtype=np.float32)
    faults: dict[str, list[str]] = {"NaN or infinite voxels": [], "the same value in every voxel": []}
    for row, name in enumerate(generated.names):
        volume, measured = generated.read(row)
        seen = volume if measured is None else volume[measured]
        if not np.isfinite(seen).all():
            faults["NaN or infinite voxels"].append(name)
        elif not seen.size or seen.min() == seen.max():
            faults["the same value in every voxel"].append(name)
        else:
            volumes[row] = _scored((volume, measured), generated.grid, grid)
        step()
    for what, names in faults.items():
        if names:
            raise SourceError(
                f"{generated.path}: {what} in {len(names)} of {len(generated)} volumes, e.g. {names[0]}; "
                "generate them again or move them away"
            )
    return volumes


def _scored(voxels: Voxels, old: Grid, new: Grid) -> Float32[np.ndarray, "z y x"]:
    volume, measured = voxels
    whole = measured is None or bool(measured.all())
    if old != new:
        volume, measured = on_grid((volume, None if whole else measured), old, new)
    measured = None if whole else measured
    return z_score(volume, moments(volume, measured), measured)


def _real_volumes(real: BoxStore, split: str, grid: Grid, step: Callable[[], None]) -> tuple[VolumeSet, int]:
    """Read the boxes of a split; also return how many contain voxels that were not measured."""
    rows = real.particles.iloc[real.boxes(split)]
    old = Grid.of_store(real)
    volumes = np.empty((len(rows), *[grid.box_size_voxel] * 3), dtype=np.float32)
    for row, box in enumerate(rows["box"]):
        voxels = (real.volume(int(box)), real.measured(int(box)))
        if old == grid:
            volumes[row] = z_score(voxels[0], real.moments(int(box), "measured"), voxels[1])
        else:
            _check_middle(real, int(box), voxels, grid)
            volumes[row] = _scored(voxels, old, grid)
        step()
    boxes = rows["box"].to_numpy()
    found = VolumeSet(volumes, rows["label"].to_numpy(dtype=str), box_names(real, boxes), grid.voxel_size_angstrom)
    return found, int((rows["padding"] > 0).sum())


def _check_middle(real: BoxStore, box: int, voxels: Voxels, grid: Grid) -> None:
    """Refuse a padded box whose cropped middle was not measured."""
    volume, measured = on_grid(voxels, Grid.of_store(real), grid)
    seen = volume[measured]
    if seen.size < 2 or seen.min() == seen.max():
        raise StoreError(
            f"{real.path}: box {box} has no measured voxels in its middle {grid.box_size_voxel}^3; curate it again with "
            f"--box {grid.box_size_voxel}"
        )


def _origin_warnings(real: BoxStore) -> list[str]:
    if not real.description.simulated:
        return []
    return [f"{real.path}: these boxes are simulated, not from a microscope; what is called real here is a simulation"]


def _grid_warnings(real: BoxStore, generated: GeneratedVolumes, grid: Grid) -> list[str]:
    warnings = []
    if generated.grid.voxel_size_angstrom > grid.voxel_size_angstrom * (1 + SAME_VOXEL_SIZE):
        warnings.append(
            f"{generated.path}: voxels of {generated.grid.voxel_size_angstrom:g} A were resampled to {grid.voxel_size_angstrom:g} A; "
            "finer detail, which they cannot have, counts against them. To compare at their voxel size, curate the real boxes "
            f"with --resample-to {generated.grid.voxel_size_angstrom:g}"
        )
    if grid.box_size_voxel != real.description.box_size_voxel:
        warnings.append(f"{real.path}: real boxes were cropped to their middle {grid.box_size_voxel}^3 voxels")
    if (
        generated.grid.box_size_voxel * generated.grid.voxel_size_angstrom
        > grid.box_size_voxel * grid.voxel_size_angstrom * 1.01
    ):
        warnings.append(
            f"{generated.path}: generated volumes were cropped to their middle {grid.box_size_voxel}^3 voxels"
        )
    return warnings


def _run_warnings(real: BoxStore) -> list[str]:
    count = real.particles.iloc[real.boxes("validation")]["run"].nunique()
    if not 0 < count < FEW_RUNS:
        return []
    held_out = "one tomogram" if count == 1 else f"{count} tomograms"
    return [f"held-out boxes come from {held_out}: intervals hold for these alone"]


def _class_warnings(real: BoxStore, sets: Sets) -> list[str]:
    warnings = []
    generated, held_out = class_counts(sets.generated.labels), class_counts(sets.held_out.labels)
    if absent := [label for label in real.description.labels if label not in generated]:
        warnings.append(f"not generated, so not compared: {', '.join(absent)}")
    if unseen := [label for label in generated if label not in held_out]:
        warnings.append(
            f"no held-out boxes of {', '.join(unseen)}: these samples count only for variety and memorisation"
        )
    few = [f"{label} ({count})" for label, count in generated.items() if count < FEW_OF_A_CLASS]
    if few:
        warnings.append(
            f"fewer than {FEW_OF_A_CLASS} samples of {', '.join(few)}: no separate numbers for these classes"
        )
    if len(sets.generated) < FEW:
        warnings.append(
            f"{len(sets.generated)} samples are few: intervals are wide, and some numbers need {FEW} or more; "
            "sample more with frazil sample --count"
        )
    return warnings


def _refuse_copies(path: Path, real: Path, sets: Sets) -> list[str]:
    """Refuse generated volumes that are all real boxes; warn where some are held-out ones (copies of training boxes are
    what the stage memorisation looks for).
    """
    warnings = []
    for others, what in ((sets.training, "training"), (sets.held_out, "held-out")):
        same = identical(sets.generated.volumes, others.volumes)
        if same.all():
            raise RequestError(
                f"{path}: all {len(same)} volumes are {what} boxes of {real}, voxel by voxel; nothing was generated, "
                "give the folder of the samples"
            )
        if same.any() and others is sets.held_out:
            first = sets.generated.names[int(np.flatnonzero(same)[0])]
            warnings.append(
                f"{path}: {int(same.sum())} of {len(same)} volumes are held-out boxes, voxel by voxel, e.g. {first}; they would be "
                "compared with themselves, so leave them out"
            )
    return warnings
