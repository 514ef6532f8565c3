"""What `frazil evaluate` is given. What does not fit is refused before any work is done; voxels are read later."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from frazil.core.errors import RequestError, SourceError, StoreError
from frazil.core.files import check_inside, file_digest, text_digest
from frazil.core.reading import read_json
from frazil.core.seeds import numpy_generator
from frazil.core.settings import CurateSettings, Settings, SourceSettings
from frazil.dataset.cut import cut_box
from frazil.dataset.plan import check_plan, make_plan
from frazil.dataset.store import DESCRIPTION, BoxStore
from frazil.dataset.tables import CENTER_VOXEL, Reason
from frazil.dataset.tomograms.description import voxels_digest
from frazil.evaluation.inputs.grid import Grid, Voxels
from frazil.evaluation.scores import TrainedOn
from frazil.io.checks import clean_name
from frazil.io.copick.project import CONFIG_NAME
from frazil.io.labelled_folder import common_cube, read_labelled_folder
from frazil.io.mrc import read_volume
from frazil.io.sources import open_source
from frazil.sampling.manifest import MANIFEST_FILE, SampleManifest

SAMPLES_KIND: str = SampleManifest.model_fields["kind"].default


class Reading(Settings):
    """How the generated volumes are read. It is recorded, so that they can be read the same way again.

    Parameters
    ----------
    labels : names of numbered classes.
    voxel_size_angstrom : true voxel size, where headers are wrong.
    limit : volumes per class at most, drawn by the seed; None takes all.
    names : only these; None takes all.
    resample : bring them to the real voxel size, and crop the larger boxes.
    seed : of everything that is drawn.
    """

    labels: dict[int, str] | None = None
    voxel_size_angstrom: float | None = None
    limit: int | None = None
    names: tuple[str, ...] | None = None
    resample: bool = False
    seed: int = 0


@dataclass(frozen=True)
class GeneratedVolumes:
    """The volumes to be evaluated, not yet read.

    Parameters
    ----------
    kind : what wrote them.
    labels : as the real boxes have them.
    files : relative to `path`; empty for a box store.
    digest : of everything that decides what the volumes are.
    read : returns a volume by its number.
    """

    path: Path
    kind: str
    grid: Grid
    names: tuple[str, ...]
    labels: tuple[str, ...]
    files: tuple[str, ...]
    digest: str
    read: Callable[[int], Voxels]
    note: str = ""
    warnings: tuple[str, ...] = ()
    trained_on: TrainedOn = "unknown"

    def __len__(self) -> int:
        return len(self.names)


def open_real(path: Path) -> BoxStore:
    """Open a box store that has training and held-out boxes."""
    store = BoxStore.open(path)
    for split, what in (("validation", "held-out"), ("train", "training")):
        if not len(store.boxes(split)):
            raise StoreError(
                f"{path}: no {what} boxes, its split is missing; curate it again with validation runs, or a "
                "validation fraction of 0.1, so that some runs are held out"
            )
    return store


def open_generated(path: Path, real: BoxStore | None, reading: Reading) -> GeneratedVolumes:
    """Find the generated volumes, and check that their classes are those of the real boxes, if there are any.

    `path` is a box store, a folder of `frazil sample`, a copick project, of which boxes around its picks are compared, or any
    folder of MRC files with labels (`frazil.io.labelled_folder`).
    """
    if _has(path, DESCRIPTION):
        volumes = _from_store(path, real)
    # other generators may have a manifest.json too
    elif _has(path, MANIFEST_FILE) and read_json(path / MANIFEST_FILE, SourceError).get("kind") == SAMPLES_KIND:
        volumes = _from_samples(path, reading, real)
    elif _has(path, CONFIG_NAME):
        volumes = _from_project(path, reading, real)
    else:
        found = read_labelled_folder(path, classes=reading.labels, known_labels=real.description.labels if real else ())
        files, labels = [entry.file for entry in found], [entry.label for entry in found]
        volumes = _from_files(path, files, labels, reading.voxel_size_angstrom)
    if real is not None:
        volumes = _with_real_labels(volumes, real.description.labels)
    if reading.names is not None:
        wanted = set(reading.names)
        volumes = _subset(volumes, [row for row, name in enumerate(volumes.names) if name in wanted], "kept")
    if reading.limit is not None:
        volumes = _limited(volumes, reading.limit, reading.seed)
    if len(volumes) < 2:
        raise RequestError(f"{path}: {len(volumes)} volume, too few to compare; sample more, e.g. 50 of each class")
    return volumes


def class_counts(labels: Iterable[object]) -> dict[str, int]:
    """Return how many there are of each class."""
    return dict(sorted(Counter(map(str, labels)).items()))


def box_names(store: BoxStore, boxes: Iterable[int]) -> tuple[str, ...]:
    """Return what a reader finds each box by: its run and its number in the store."""
    runs = store.particles["run"]
    return tuple(f"{runs.iloc[box]} box {box}" for box in map(int, boxes))


def _has(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except OSError:  # a folder that may not be searched: reading it reports that
        return False


def _from_samples(path: Path, reading: Reading, real: BoxStore | None) -> GeneratedVolumes:
    manifest = SampleManifest.read(path / MANIFEST_FILE, SourceError)
    entries = manifest.samples
    if not entries:
        raise SourceError(f"{path}: no samples yet; rerun frazil sample to resume")
    files = [entry.file for entry in entries]
    if missing := [file for file in files if not (path / file).is_file()]:
        raise SourceError(
            f"{path}: {len(missing)} of {len(files)} samples of its manifest are missing, e.g. {missing[0]}; "
            "rerun frazil sample to make them"
        )
    trained_on: TrainedOn = "unknown"
    if real is not None:
        trained_on = "these boxes" if manifest.training_data_digest == real.digest else "other boxes"
    warnings = []
    if not manifest.complete:
        warnings.append(f"{path}: only {len(entries)} of the requested samples exist; these are evaluated")
    if real is not None and trained_on == "other boxes":
        warnings.append(
            f"{path}: the model was not trained on the training boxes of {real.path}, so differences from these say little "
            "about whether samples are new"
        )
    first, voxel_size = entries[0], reading.voxel_size_angstrom or manifest.voxel_size_angstrom
    written = [entry.digest for entry in entries]
    return replace(
        _from_files(path, files, [entry.label for entry in entries], voxel_size, written),
        kind=SAMPLES_KIND,
        names=tuple(entry.name for entry in entries),
        note=f"{first.sampler}, {first.steps} steps, guidance {first.guidance:g}, bundle {manifest.bundle_digest[7:15]}"
        + (f", trained on {trained_on.replace('these', 'these training')}" if real else ""),
        warnings=tuple(warnings),
        trained_on=trained_on,
    )


def _from_files(
    path: Path,
    files: Sequence[str],
    labels: Sequence[str],
    voxel_size_angstrom: float | None,
    written: Sequence[str] = (),
) -> GeneratedVolumes:
    """`written` are the digests that the files must have."""
    check_inside(path, files, path, SourceError)
    header = common_cube(path, files, voxel_size_angstrom)
    grid = Grid(header.voxel_size_angstrom, header.shape_voxel[0])
    each = [(file, label, file_digest(path / file)) for file, label in zip(files, labels, strict=True)]
    for (file, _, digest), before in zip(each, written, strict=False):
        if digest != before:
            raise SourceError(
                f"{path / file}: changed since it was sampled; move it away and rerun frazil sample to make it again"
            )
    return GeneratedVolumes(
        path=path,
        kind="folder of MRC files",
        grid=grid,
        names=tuple(files),
        labels=tuple(labels),
        files=tuple(files),
        digest=text_digest(json.dumps([grid.voxel_size_angstrom, grid.box_size_voxel, each])),
        read=lambda row: (read_volume(path / files[row]), None),
    )


def _from_store(path: Path, real: BoxStore | None) -> GeneratedVolumes:
    store = BoxStore.open(path)
    if real is not None and store.digest == real.digest:
        raise StoreError(f"{path}: this is the real box store itself; name the samples or another store")
    return GeneratedVolumes(
        path=path,
        kind="box store",
        grid=Grid.of_store(store),
        names=box_names(store, range(len(store))),
        labels=tuple(store.particles["label"]),
        files=(),
        digest=store.digest,
        read=lambda row: (store.volume(row), store.measured(row)),
        note=f"boxes of {store.description.source_kind}, training and validation",
    )


def _from_project(path: Path, reading: Reading, real: BoxStore | None) -> GeneratedVolumes:
    """Cut boxes as large as the real ones around all picks of whole tomograms, generated or real."""
    select, settings = SourceSettings(voxel_size_angstrom=reading.voxel_size_angstrom), CurateSettings()
    if real is not None:
        grid = Grid.of_store(real)
        voxel_size = grid.voxel_size_angstrom if reading.resample else None
        settings = CurateSettings(box_size_voxel=grid.box_size_voxel, voxel_size_angstrom=voxel_size)
    source = open_source(path, select)
    plan = make_plan(source, select, settings)
    check_plan(plan)
    picks = plan.to_cut()
    tomogram = lru_cache(maxsize=1)(source.read)
    digests = [voxels_digest(tomogram(run)) for run in picks["run"].unique()]

    def read(row: int) -> Voxels:
        run, center = picks["run"].iloc[row], picks[CENTER_VOXEL].iloc[row].to_numpy(dtype=np.float64)
        box = cut_box(tomogram(run), center, box_size_voxel=settings.box_size_voxel, ratio=plan.ratio(run))
        if isinstance(box, Reason):
            raise SourceError(f"{path}: no box can be cut around a pick of {run} ({box.value}); remove the pick")
        return box.volume, box.measured

    return GeneratedVolumes(
        path=path,
        kind=source.kind,
        grid=Grid(plan.voxel_size_angstrom, settings.box_size_voxel),
        names=tuple(f"{run} pick {row}" for row, run in zip(picks.index, picks["run"], strict=True)),
        labels=tuple(picks["label"]),
        files=(),
        digest=text_digest(json.dumps([plan.digest, digests])),
        read=read,
        note=f"boxes around the picks of {len(digests)} whole tomogram{'s' * (len(digests) > 1)}",
    )


def _with_real_labels(volumes: GeneratedVolumes, known: Sequence[str]) -> GeneratedVolumes:
    by_clean_name = {clean_name(label): label for label in known}
    extra = sorted({label for label in volumes.labels if clean_name(label) not in by_clean_name})
    if extra:
        given = {clean_name(label) for label in volumes.labels}
        missing = [label for label in known if clean_name(label) not in given]
        raise RequestError(
            f"{volumes.path}: classes {', '.join(extra)} are not among the real boxes"
            + (f" (which also have {', '.join(missing)})" if missing else f" ({', '.join(known)})")
            + "; use the same names in labels.csv (columns file, label), or leave them out"
        )
    return replace(volumes, labels=tuple(by_clean_name[clean_name(label)] for label in volumes.labels))


def _limited(volumes: GeneratedVolumes, limit: int, seed: int) -> GeneratedVolumes:
    if limit < 1:
        raise RequestError(f"limit {limit}: nothing to evaluate; give at least 1, or leave it out to take all")
    labels = np.array(volumes.labels)
    rows: list[int] = []
    for label in sorted(set(volumes.labels)):
        own = np.flatnonzero(labels == label)
        rows.extend(int(row) for row in numpy_generator(seed, "evaluation limit", label).permutation(own)[:limit])
    return volumes if len(rows) == len(volumes) else _subset(volumes, sorted(rows), "drawn")


def _subset(volumes: GeneratedVolumes, rows: Sequence[int], how: str) -> GeneratedVolumes:
    """Return the volumes at `rows`; their note says `how` they were chosen."""
    return replace(
        volumes,
        names=tuple(volumes.names[row] for row in rows),
        labels=tuple(volumes.labels[row] for row in rows),
        files=tuple(volumes.files[row] for row in rows) if volumes.files else (),
        digest=text_digest(json.dumps([volumes.digest, list(rows)])),
        read=lambda row: volumes.read(rows[row]),
        note=f"{volumes.note}{'; ' if volumes.note else ''}{len(rows)} of {len(volumes)} {how}",
    )
