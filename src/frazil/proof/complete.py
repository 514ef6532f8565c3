"""`frazil complete`: where picks are a part of what is there, a picker that learns from one half of a tomogram fills in the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from pydantic import Field
from scipy.spatial import KDTree

from frazil.core.console import progress_bar, say, warn
from frazil.core.documents import Document, differences
from frazil.core.errors import PickError, SettingsError, SourceError
from frazil.core.files import write_text
from frazil.core.folder import OutputFolder
from frazil.core.settings import Counted, CurateSettings, SourceSettings, check_number, check_seed
from frazil.dataset.contrast import warn_of_contrast
from frazil.dataset.plan import check_plan, make_plan
from frazil.dataset.split import TRAIN
from frazil.dataset.tables import CENTER_VOXEL
from frazil.dataset.tomograms.curate import curate_tomograms
from frazil.dataset.tomograms.description import Region
from frazil.dataset.tomograms.store import TomogramStore
from frazil.io.cells import csv_text
from frazil.io.copick.runs import Advance
from frazil.io.sources import only_runs, open_source
from frazil.io.tables import read_csv
from frazil.proof.arms import ANNOTATED, Arm
from frazil.proof.examples import PickerExamples
from frazil.proof.score import MATCH_RADIUS
from frazil.proof.training import train_picker
from frazil.proof.trial import PICK_TABLE, found_in, references
from frazil.volume.arrangement import OVERLAPPING

FOUND_FILE = "found.csv"
_STORE = "store"
_HALVES = (0, 1)

_RIGHT = 0.9
"""Share of the annotated particles that are picked which must be of the right class."""


class CompletionRequest(Document):
    """What is completed.

    Parameters
    ----------
    project, source : whose picks; `runs` of it.
    plan_digest : of these picks and their tomograms.
    steps, seed : of the training of the two pickers.
    sure : see `complete`.
    """

    written_by: ClassVar[str] = "frazil complete"

    schema_version: int = 1
    kind: Literal["frazil completion"] = "frazil completion"
    project: str
    source: SourceSettings
    runs: tuple[str, ...]
    plan_digest: str
    steps: Counted
    seed: int
    sure: float = Field(gt=0, lt=1)


def complete(
    project: Path | str,
    out: Path | str,
    *,
    runs: Sequence[str] = (),
    source: SourceSettings | None = None,
    steps: int = 400,
    seed: int = 0,
    sure: float = 0.5,
    force: bool = False,
) -> pd.DataFrame:
    """Find particles that an incomplete pick list lacks. Called again, it resumes, or finds that nothing is left to do.

    Each tomogram is halved along y or x. A picker learns from the annotated particles of all first halves and picks the second ones,
    another the other way round. Of what they find, that is kept which is as sure as a typical annotated particle of its class that
    the same picker had not seen, and overlaps with none. A class that the picker misses, or takes other annotated particles for, is
    left as it is.

    Parameters
    ----------
    project : annotated tomograms, as for `frazil.curate`.
    out : folder for ``found.csv``, a table that `frazil.curate` takes beside the picks of the project
        (``SourceSettings.more_picks_file``).
    runs : those to complete; all with picks by default.
    source : which picks and tomograms of `project`.
    steps : of the training of a picker.
    seed : of its weights and windows.
    sure : a pick is kept if it scores at least as much as the best `sure` of the annotated particles of its class: 0.5 is their
        median. Lower is stricter.
    force : replace what another request left in `out`.

    Returns
    -------
    The picks: run_name, particle_type, x, y, z (angstrom), score.

    Raises
    ------
    PickError, SourceError : picks or tomograms that cannot be read.
    SettingsError : a run without picks, or numbers that cannot be.
    """
    check_number("steps", steps, SettingsError)
    check_seed(seed, SettingsError)
    if not 0 < sure < 1:
        raise SettingsError(f"sure {sure:g}: is a share of the annotated particles; give one between 0 and 1, e.g. 0.5")
    select = source or SourceSettings()
    opened = open_source(Path(project), select)
    chosen = only_runs(opened, runs)
    plan = make_plan(chosen, select, CurateSettings(validation_fraction=0))
    check_plan(plan)
    request = CompletionRequest(
        project=str(Path(project).resolve()), source=select, runs=tuple(chosen.runs()), plan_digest=plan.digest,
        steps=steps, seed=seed, sure=sure,
    )  # fmt: skip
    folder = OutputFolder(Path(out), "completion.json", CompletionRequest, ("half-*.csv", FOUND_FILE), parts=(_STORE,))
    folder.earlier(request, force=force, compare=_changes)
    with folder.held():
        work, _ = folder.begin(request, force=force, compare=_changes)
        work.check()
        request.write(work.record_path)
        store = curate_tomograms(chosen, plan, work.path / _STORE, force=True)
        warn_of_contrast(store)
        halves = [work.path / f"half-{half}.csv" for half in _HALVES]
        with progress_bar() as bar:
            task = bar.add_task("completing", total=len(halves))
            for half, file in zip(_HALVES, halves, strict=True):
                if not file.exists():
                    found = _pick_other_half(store, half, request, lambda share: bar.advance(task, share))
                    write_text(file, csv_text(found))
                bar.update(task, completed=half + 1)
        added = _added([_read(file) for file in halves], store, sure)
        write_text(work.path / FOUND_FILE, csv_text(added))
        path = work.finish()
    for label, annotated in store.particles["label"].value_counts().sort_index().items():
        say(f"{label}: annotated: {annotated}, found beside them: {(added['particle_type'] == label).sum()}")
    say(f"wrote {path / FOUND_FILE}: curate or prove with it as more picks")
    return added


def _changes(old: CompletionRequest, new: CompletionRequest) -> list[str]:
    changed = differences(old, new, {"plan_digest"})
    return changed or (["other picks or tomograms"] if old.plan_digest != new.plan_digest else [])


def _regions(store: TomogramStore, run: str) -> list[Region]:
    """Return the two halves of a tomogram, along the longer of y and x."""
    z, y, x = store.description.tomograms[run].shape_voxel
    if y > x:
        return [((0, 0, 0), (z, y // 2, x)), ((0, y // 2, 0), (z, y, x))]
    return [((0, 0, 0), (z, y, x // 2)), ((0, 0, x // 2), (z, y, x))]


def _halved(store: TomogramStore, half: int) -> TomogramStore:
    """Return the store with one half of each tomogram to train on."""
    regions = {run: {TRAIN: _regions(store, run)[half]} for run in store.runs}
    particles = store.particles.copy()
    inside = [
        _within(regions[run][TRAIN], center)
        for run, center in zip(particles["run"], particles[CENTER_VOXEL].to_numpy(float), strict=True)
    ]
    particles["split"] = np.where(inside, TRAIN, "gap")
    return TomogramStore(store.path, store.description.model_copy(update={"regions": regions}), particles)


def _within(region: Region, center_voxel: np.ndarray) -> bool:
    first, end = region
    return bool((center_voxel >= np.subtract(first, 0.5)).all() and (center_voxel < np.subtract(end, 0.5)).all())


def _pick_other_half(store: TomogramStore, half: int, request: CompletionRequest, advance: Advance) -> pd.DataFrame:
    """Train on one half of every tomogram, and return all that is found in the other."""
    labels, trained = store.description.labels, _halved(store, half)
    if not (trained.particles["split"] == TRAIN).any():
        raise PickError(
            f"{request.project}: all annotated particles lie in one half of the tomograms, so that nothing can be learned for the other; "
            "annotate some there"
        )
    arm = Arm(name="augmented", shares={ANNOTATED: 1})
    picker = train_picker(
        PickerExamples({ANNOTATED: trained}, labels, arm, request.seed), labels, steps=request.steps, seed=request.seed,
        on_step=lambda _: advance(0.9 / request.steps),
    )  # fmt: skip
    rows = []
    for run in store.runs:
        header, region = store.description.tomograms[run], _regions(store, run)[1 - half]
        first = np.asarray(header.first_voxel_angstrom)
        for label, (centers, scores) in found_in(picker, store, run).items():
            there = [_within(region, at) for at in (centers - first) / header.voxel_size_angstrom]
            rows += [
                (run, label, *(round(at, 1) for at in center[::-1].tolist()), round(float(score), 4))
                for center, score in zip(centers[there], scores[there], strict=True)
            ]
    return pd.DataFrame(rows, columns=PICK_TABLE)


def _read(file: Path) -> pd.DataFrame:
    table = read_csv(file, PICK_TABLE, SourceError)
    texts, numbers = PICK_TABLE[:2], PICK_TABLE[2:]
    return pd.DataFrame(
        {name: table.cells[name] for name in texts} | {name: table.numbers(name) for name in numbers}
    ).reset_index(drop=True)


def _added(found: Sequence[pd.DataFrame], store: TomogramStore, sure: float) -> pd.DataFrame:
    """Return what is as sure as a typical annotated particle of the same half and class, and in nobody's place.

    `found` is what was picked after training on each half.
    """
    radii, kept = store.description.radii_angstrom, []
    for half, label in product(_HALVES, store.description.labels):
        some = found[half][found[half]["particle_type"] == label]
        annotated = _halved(store, 1 - half).particles
        there = int(((annotated["label"] == label) & (annotated["split"] == TRAIN)).sum())
        on = _annotated_at(some, store)
        least = _least_score(some["score"].to_numpy(), on == label, (on != label) & (on != ""), there, sure)
        if least is not None:
            kept.append(some[(on == "") & (some["score"] >= least).to_numpy()])
        elif there:
            warn(
                f"{label}: the picker misses or mistakes too many of the annotated ones, so that none is added; try more steps"
            )
    rows = pd.concat(kept or [found[0].iloc[:0]], ignore_index=True).sort_values(
        "score", ascending=False, kind="stable"
    )
    chosen = []
    for run, some in rows.groupby("run_name"):
        labels = store.description.labels
        places = [references(store, str(run), label) for label in labels]
        taken = [(center, radii[label]) for label, centers in zip(labels, places, strict=True) for center in centers]
        for index, label, center in zip(
            some.index, some["particle_type"], some[["z", "y", "x"]].to_numpy(), strict=True
        ):
            apart = np.linalg.norm(np.array([at for at, _ in taken]) - center, axis=1)
            if (apart >= OVERLAPPING * (np.array([radius for _, radius in taken]) + radii[label])).all():
                taken.append((center, radii[label]))
                chosen.append(index)
    added: pd.DataFrame = rows.loc[chosen, list(PICK_TABLE)]
    return added.sort_values(["run_name", "particle_type", "score"], ascending=[True, True, False])


def _annotated_at(picks: pd.DataFrame, store: TomogramStore) -> np.ndarray:
    """Return the class of the annotated particle at each pick; empty where there is none."""
    on = np.full(len(picks), "", dtype=object)
    centers = picks[["z", "y", "x"]].to_numpy(float)
    for run, label in product(store.runs, store.description.labels):
        annotated, rows = references(store, run, label), np.flatnonzero(picks["run_name"] == run)
        if len(annotated) and len(rows):
            distance, _ = KDTree(annotated).query(centers[rows])
            on[rows[distance <= MATCH_RADIUS * store.description.radii_angstrom[label]]] = label
    return on


def _least_score(
    scores: Float[np.ndarray, "n"], own: Bool[np.ndarray, "n"], other: Bool[np.ndarray, "n"], there: int, sure: float
) -> float | None:
    """Return the lowest score of a pick to keep; None if there is no such score.

    The best `sure` of the `there` annotated particles of the class score as much, and of the annotated particles that are picked
    with as much, few are of another class.
    """
    wanted = max(1, math.ceil(sure * there))
    hits = np.sort(scores[own])[::-1][:wanted]
    if len(hits) < wanted:
        return None
    for least in hits[::-1]:
        right, wrong = (scores[own] >= least).sum(), (scores[other] >= least).sum()
        if right >= _RIGHT * (right + wrong):
            return float(least)
    return None
