"""What `frazil evaluate` is given: the real boxes, and the volumes to be judged.

Nothing here reads voxels: what does not fit is refused before any work is done.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from frazil.core.errors import RequestError, SourceError, StoreError
from frazil.core.files import file_digest, read_json, text_digest
from frazil.core.records import SAME_VOXEL_SIZE, TomogramHeader
from frazil.core.seeds import numpy_generator
from frazil.dataset.store import DESCRIPTION, BoxStore
from frazil.evaluation.inputs.grid import Grid, Voxels
from frazil.evaluation.scores import TrainedOn
from frazil.io.checks import clean_name, refuse_unknown_voxel_size
from frazil.io.labelled_folder import parse_classes, read_labelled_folder
from frazil.io.mrc import read_header, read_volume
from frazil.sampling.manifest import MANIFEST_FILE, SampleManifest, read_record

FEWEST = 2
"""Of two volumes on there is something to compare."""

SAMPLES_KIND = "frazil samples"


@dataclass(frozen=True)
class Judged:
    """The volumes to be judged, not yet read.

    Parameters
    ----------
    path, kind : where they are, and what wrote them.
    grid : of the volumes as they are.
    names, labels : of each volume; labels as the real boxes have them.
    files : relative to `path`; empty for a box store.
    digest : of everything that decides what the volumes are.
    note : what a reader should know of them.
    warnings : what a user should know.
    trained_on : what the generator learnt from, as far as its files say.
    read : volume by number, and which of its voxels were measured (None: all).
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


@dataclass(frozen=True)
class JudgedOptions:
    """How to read the volumes to be judged.

    Parameters
    ----------
    labels : names of numbered classes, as on the command line.
    voxel_size_angstrom : true voxel size, where headers are wrong.
    limit : volumes of a class at most, drawn by the seed; None takes all.
    names : only these; None takes all.
    seed : of that draw.
    """

    labels: str | None = None
    voxel_size_angstrom: float | None = None
    limit: int | None = None
    names: tuple[str, ...] | None = None
    seed: int = 0


def open_real(path: Path) -> BoxStore:
    """Open a box store that has training and held-out boxes.

    Raises
    ------
    StoreError : no box store, damaged, or without a split.
    """
    store = BoxStore.open(path)
    for split, what in (("validation", "held-out"), ("train", "training")):
        if not len(store.boxes(split)):
            raise StoreError(
                f"{path}: no {what} boxes, its split is missing; curate it again with --validation-run RUN or "
                "--validation-fraction 0.1, so that some runs are held out"
            )
    return store


def open_judged(path: Path, real: BoxStore, options: JudgedOptions | None = None) -> Judged:
    """Find the volumes to be judged, and check that their classes are those of the real boxes.

    Parameters
    ----------
    path : folder of `frazil sample`, any folder of MRC files with labels (`frazil.io.labelled_folder`), or a box store.

    Raises
    ------
    SourceError : no volumes, unreadable, of unlike shapes, or of an unknown voxel size.
    RequestError : classes that the real boxes do not have, or too few volumes.
    StoreError : a box store that is damaged, or that is the real one.
    """
    options = options or JudgedOptions()
    size = options.voxel_size_angstrom
    if size is not None and not 0 < size < math.inf:
        raise RequestError(f"--voxel-size {size:g}: no edge of a voxel; give the true size in angstrom, above 0")
    if _has(path, DESCRIPTION):
        judged = _from_store(path, real)
    elif _is_sample_folder(path):
        judged = _from_samples(path, options.voxel_size_angstrom, real)
    else:
        judged = _from_labelled_folder(path, options, real)
    judged = _with_real_labels(judged, real.description.labels)
    if options.names is not None:
        wanted = set(options.names)
        judged = subset(judged, [row for row, name in enumerate(judged.names) if name in wanted], "kept")
    judged = judged if options.limit is None else _limited(judged, options.limit, options.seed)
    if len(judged) < FEWEST:
        raise RequestError(
            f"{path}: {len(judged)} volume, nothing can be said of so few; sample more, e.g. frazil sample --count 50"
        )
    return judged


def class_counts(labels: Iterable[object]) -> dict[str, int]:
    """Return how many there are of each class."""
    return dict(sorted(Counter(map(str, labels)).items()))


def _is_sample_folder(path: Path) -> bool:
    """Tell whether `frazil sample` wrote the folder; other generators may have a manifest.json too."""
    kind = SampleManifest.model_fields["kind"].default
    return _has(path, MANIFEST_FILE) and read_json(path / MANIFEST_FILE, SourceError).get("kind") == kind


def _has(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except OSError:  # a folder that may not be looked into: reading it says so
        return False


def _from_samples(path: Path, voxel_size_angstrom: float | None, real: BoxStore) -> Judged:
    manifest = read_record(path / MANIFEST_FILE, SampleManifest, SourceError)
    entries = manifest.samples
    if not entries:
        raise SourceError(f"{path}: there are no samples yet; run frazil sample again to go on")
    files = tuple(entry.file for entry in entries)
    if missing := [file for file in files if not (path / file).is_file()]:
        raise SourceError(
            f"{path}: {len(missing)} of {len(files)} samples of its manifest are missing, e.g. {missing[0]}; "
            "run frazil sample again to make them"
        )
    grid = _grid_of_files(path, files, voxel_size_angstrom or manifest.voxel_size_angstrom)
    warnings = []
    if not manifest.complete:
        warnings.append(f"{path}: not all samples that were asked for are there; {len(entries)} are judged")
    trained_here = manifest.training_data_digest == real.digest
    if not trained_here:
        warnings.append(
            f"{path}: the model was not trained on the training boxes of {real.path}; that samples are unlike these says "
            "little about whether they are new"
        )
    made = entries[0]
    return Judged(
        path=path,
        kind=SAMPLES_KIND,
        grid=grid,
        names=tuple(entry.name for entry in entries),
        labels=tuple(entry.label for entry in entries),
        files=files,
        digest=_digest_of_files(path, files, [entry.label for entry in entries], grid),
        read=lambda row: (read_volume(path / files[row]), None),
        note=f"{made.sampler}, {made.steps} steps, guidance {made.guidance:g}, bundle {manifest.bundle_digest[7:15]}, "
        + ("trained on these training boxes" if trained_here else "trained on other boxes"),
        warnings=tuple(warnings),
        trained_on="these boxes" if trained_here else "other boxes",
    )


def _from_labelled_folder(path: Path, options: JudgedOptions, real: BoxStore) -> Judged:
    classes = parse_classes(options.labels) if options.labels is not None else None
    found = read_labelled_folder(path, classes=classes, known_labels=real.description.labels)
    files = tuple(entry.file for entry in found)
    labels = tuple(entry.label for entry in found)
    grid = _grid_of_files(path, files, options.voxel_size_angstrom)
    return Judged(
        path=path,
        kind="folder of MRC files",
        grid=grid,
        names=files,
        labels=labels,
        files=files,
        digest=_digest_of_files(path, files, labels, grid),
        read=lambda row: (read_volume(path / files[row]), None),
    )


def _from_store(path: Path, real: BoxStore) -> Judged:
    store = BoxStore.open(path)
    if store.digest == real.digest:
        raise StoreError(f"{path}: this is the real box store itself; name the samples or another store")

    def read(row: int) -> Voxels:
        return store.volume(row), store.measured(row)

    description = store.description
    return Judged(
        path=path,
        kind="box store",
        grid=Grid(description.voxel_size_angstrom, description.box_size_voxel),
        names=box_names(store, range(len(store))),
        labels=tuple(store.particles["label"]),
        files=(),
        digest=store.digest,
        read=read,
        note=f"boxes of {description.source_kind}, training and validation",
    )


def box_names(store: BoxStore, boxes: Sequence[int] | np.ndarray) -> tuple[str, ...]:
    """Return what a reader finds each box by: its run and its number in the store."""
    return tuple(f"{store.particles['run'].iloc[box]} box {box}" for box in map(int, boxes))


def _grid_of_files(path: Path, files: Sequence[str], voxel_size_angstrom: float | None) -> Grid:
    """Read the headers and check that all volumes are cubes of one size."""
    headers = [read_header(path / file, voxel_size_angstrom) for file in files]
    first = headers[0]
    if voxel_size_angstrom is None:
        refuse_unknown_voxel_size(first)
    for header in headers:
        _check_cube(header)
        if header.shape_voxel != first.shape_voxel or _differ(header, first):
            raise SourceError(
                f"{header.origin}: {header.shape_voxel} voxels of {header.voxel_size_angstrom:g} A, but {first.origin} has "
                f"{first.shape_voxel} of {first.voxel_size_angstrom:g} A; judge volumes of one size at a time"
            )
    return Grid(first.voxel_size_angstrom, first.shape_voxel[0])


def _check_cube(header: TomogramHeader) -> None:
    if len(set(header.shape_voxel)) > 1:
        raise SourceError(
            f"{header.origin}: {header.shape_voxel} (z, y, x) voxels are no cube; cut boxes of equal edges around the particles"
        )


def _differ(one: TomogramHeader, other: TomogramHeader) -> bool:
    return abs(one.voxel_size_angstrom / other.voxel_size_angstrom - 1) > SAME_VOXEL_SIZE


def _digest_of_files(path: Path, files: Sequence[str], labels: Sequence[str], grid: Grid) -> str:
    each = [(file, label, file_digest(path / file)) for file, label in zip(files, labels, strict=True)]
    return text_digest(json.dumps([grid.voxel_size_angstrom, grid.box_size_voxel, each]))


def _with_real_labels(judged: Judged, known: Sequence[str]) -> Judged:
    """Name the classes as the real boxes do, and refuse those that they do not have."""
    by_clean_name = {clean_name(label): label for label in known}
    extra = sorted({label for label in judged.labels if clean_name(label) not in by_clean_name})
    if extra:
        given = {clean_name(label) for label in judged.labels}
        missing = [label for label in known if clean_name(label) not in given]
        raise RequestError(
            f"{judged.path}: classes {', '.join(extra)} are not among the real boxes"
            + (f" (which also have {', '.join(missing)})" if missing else f" ({', '.join(known)})")
            + "; name them alike in labels.csv (columns file, label), or leave them out"
        )
    labels = tuple(by_clean_name[clean_name(label)] for label in judged.labels)
    return replace(judged, labels=labels)


def _limited(judged: Judged, limit: int, seed: int) -> Judged:
    """Draw at most `limit` volumes of each class."""
    if limit < 1:
        raise RequestError(f"--limit {limit}: nothing to judge; give at least 1, or leave it out to take all")
    labels = np.array(judged.labels)
    rows: list[int] = []
    for label in sorted(set(judged.labels)):
        own = np.flatnonzero(labels == label)
        rows.extend(int(row) for row in numpy_generator(seed, "evaluation limit", label).permutation(own)[:limit])
    rows.sort()
    if len(rows) == len(judged):
        return judged
    return subset(judged, rows, "drawn")


def subset(judged: Judged, rows: Sequence[int], how: str) -> Judged:
    """Return the volumes at `rows`; the note says `how` they were chosen."""
    rows = tuple(rows)
    return replace(
        judged,
        names=tuple(judged.names[row] for row in rows),
        labels=tuple(judged.labels[row] for row in rows),
        files=tuple(judged.files[row] for row in rows) if judged.files else (),
        digest=text_digest(json.dumps([judged.digest, rows])),
        read=lambda row: judged.read(rows[row]),
        note=f"{judged.note}{'; ' if judged.note else ''}{len(rows)} of {len(judged)} {how}",
    )
