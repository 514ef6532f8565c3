"""One trial of a proof: a picker is trained on an arm, gets its thresholds, and picks the test tomograms."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from frazil.core.errors import SourceError
from frazil.core.files import atomic_path, text_digest
from frazil.core.records import TomogramHeader
from frazil.dataset.split import TRAIN
from frazil.dataset.tables import CENTER_VOXEL
from frazil.dataset.tomograms.curate import robust_moments
from frazil.dataset.tomograms.store import TomogramStore
from frazil.io.cells import csv_text
from frazil.io.copick.runs import Advance, no_advance
from frazil.io.sources import Source
from frazil.io.tables import read_csv
from frazil.proof.arms import ANNOTATED, Arm
from frazil.proof.examples import PickerExamples
from frazil.proof.picker import Picker
from frazil.proof.records import PICKS_FILE, STORES, TRIAL_FILE, TRIALS, ProofRequest, Trial
from frazil.proof.score import best_threshold, partners
from frazil.proof.training import train_picker
from frazil.volume.crop import crop_measured

_METHOD = 4
"""Raised when the same arm would give other picks: the picker, its examples or its thresholds changed."""

_TUNED = 2
"""Training tomograms that are searched for the thresholds."""

_SLACK = 0.03
"""A picker is surer of particles that it has learned from: the threshold is the lowest with which F-beta is so near its best there."""

PICK_TABLE = ("run_name", "particle_type", "x", "y", "z", "score")
"""In angstrom, as frazil reads tables of copick, so that picks can be layouts or be curated."""

Found = Mapping[str, tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]]
"""By class: centers in angstrom (zyx) and scores."""


@dataclass(frozen=True)
class TrialWork:
    """Carries out trials; an item for an executor."""

    source: Source
    folder: Path
    request: ProofRequest
    labels: tuple[str, ...]
    store_digests: Mapping[str, str]
    on_step: Advance = no_advance

    def place(self, arm: Arm, seed: int) -> Path:
        """Return where a trial is."""
        return self.folder / TRIALS / f"{arm.name.replace(' ', '-').replace(':', 'to')}-{seed}"

    def digest(self, arm: Arm, seed: int) -> str:
        """Return the digest of all that decides what a trial finds."""
        request = self.request
        said = {
            "method": _METHOD, "arm": arm.model_dump(), "seed": seed, "labels": self.labels, "test": request.test, "pick": request.pick,
            "picker": [request.steps, request.batch_size, request.learning_rate],
            "stores": {name: self.store_digests[name] for name in sorted({ANNOTATED, *arm.shares})},
        }  # fmt: skip
        return text_digest(json.dumps(said, sort_keys=True))

    def finished(self, arm: Arm, seed: int) -> Trial | None:
        """Return a trial that is there and still holds."""
        file = self.place(arm, seed) / TRIAL_FILE
        if not file.exists():
            return None
        trial = Trial.read(file, SourceError)
        return trial if trial.digest == self.digest(arm, seed) else None

    def __call__(self, item: tuple[Arm, int]) -> None:
        """Train, choose thresholds, pick, and write the trial, whole or not at all."""
        arm, seed = item
        request, labels = self.request, self.labels
        stores = {name: TomogramStore.open(self.folder / STORES / name) for name in {ANNOTATED, *arm.shares}}
        losses = []

        def on_step(loss: float) -> None:
            losses.append(loss)
            self.on_step(1 / request.steps)

        picker = train_picker(
            PickerExamples(stores, labels, arm, seed), labels, steps=request.steps, seed=seed,
            batch_size=request.batch_size, learning_rate=request.learning_rate, on_step=on_step,
        )  # fmt: skip
        annotated = stores[ANNOTATED]
        thresholds = choose_thresholds(picker, annotated, request.train[:_TUNED])
        rows = [row for run in request.test for row in _rows(run, found_in(picker, annotated, run))]
        rows += [row for run in request.pick for row in _rows(run, self._found_elsewhere(picker, run))]
        trial = Trial(
            arm=arm.name, seed=seed, steps=request.steps, last_loss=float(np.mean(losses[-50:])),
            thresholds=thresholds, digest=self.digest(arm, seed),
        )  # fmt: skip
        with atomic_path(self.place(arm, seed)) as folder:
            folder.mkdir()
            (folder / PICKS_FILE).write_text(csv_text(pd.DataFrame(rows, columns=PICK_TABLE)), encoding="utf-8")
            trial.write(folder / TRIAL_FILE)

    def _found_elsewhere(self, picker: Picker, run: str) -> Found:
        tomogram = self.source.read(run)
        shape = tomogram.header.shape_voxel
        measured = crop_measured(shape, tomogram.chunk_voxel, tomogram.chunk_present, (0, 0, 0), shape)
        median, spread = robust_moments(tomogram.volume[measured], tomogram.header.origin)
        return _in_angstrom(picker.pick((tomogram.volume - median) / spread), tomogram.header)

    def picks(self, arm: Arm, seed: int) -> pd.DataFrame:
        """Return the picks of a trial: run, label, z, y, x in angstrom, score."""
        table = read_csv(self.place(arm, seed) / PICKS_FILE, PICK_TABLE, SourceError)
        return pd.DataFrame(
            {"run": table.cells["run_name"], "label": table.cells["particle_type"]}
            | {name: table.numbers(name) for name in ("z", "y", "x", "score")}
        )


def found_in(picker: Picker, store: TomogramStore, run: str) -> Found:
    """Return what a picker finds in a tomogram of a store."""
    volume = np.asarray(store.array(run)[:], dtype=np.float32)
    return _in_angstrom(picker.pick(volume), store.description.tomograms[run])


def _in_angstrom(found: Found, header: TomogramHeader) -> Found:
    first = np.asarray(header.first_voxel_angstrom)
    return {label: (centers * header.voxel_size_angstrom + first, scores) for label, (centers, scores) in found.items()}


def references(store: TomogramStore, run: str, label: str, *, split: str | None = None) -> Float[np.ndarray, "n 3"]:
    """Return the annotated centers of a class in a tomogram, zyx in angstrom; `split` keeps those that it may use."""
    header, particles = store.description.tomograms[run], store.particles
    rows = particles[(particles["run"] == run) & (particles["label"] == label)]
    rows = rows if split is None else rows[rows["split"] == split]
    centers = rows[CENTER_VOXEL].to_numpy(dtype=np.float64)
    return np.asarray(centers * header.voxel_size_angstrom + np.asarray(header.first_voxel_angstrom))


def choose_thresholds(picker: Picker, store: TomogramStore, runs: Sequence[str]) -> dict[str, float | None]:
    """Return for each class the lowest score of a pick with which F-beta is nearly highest on training tomograms; None keeps none."""
    found = {run: found_in(picker, store, run) for run in runs}
    chosen: dict[str, float | None] = {}
    for label in picker.labels:
        scored: list[tuple[float, bool]] = []
        count = 0
        for run in runs:
            wanted = references(store, run, label, split=TRAIN)
            centers, scores = found[run][label]
            right = partners(centers, wanted, store.description.radii_angstrom[label]) >= 0
            scored += list(zip(scores.tolist(), right.tolist(), strict=True))
            count += len(wanted)
        best = best_threshold(scored, count, slack=_SLACK)
        chosen[label] = best if math.isfinite(best) else None
    return chosen


def _rows(run: str, found: Found) -> list[tuple[object, ...]]:
    return [
        (run, label, *(f"{place:.1f}" for place in center[::-1]), f"{score:.4f}")
        for label, (centers, scores) in found.items()
        for center, score in sorted(zip(centers.tolist(), scores.tolist(), strict=True), key=lambda one: -one[1])
    ]
