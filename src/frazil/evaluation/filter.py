"""`frazil filter`: generated volumes and their evaluation in; the better ones, a receipt, and the effect on every number out."""

from __future__ import annotations

import glob
import html
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from frazil.core.console import say, say_written
from frazil.core.documents import Document, differences
from frazil.core.errors import RequestError, SourceError
from frazil.core.files import atomic_path, file_digest
from frazil.core.folder import OutputFolder
from frazil.core.settings import Settings
from frazil.dataset.store import BoxStore
from frazil.evaluation.inputs.generated import (
    SAMPLES_KIND,
    GeneratedVolumes,
    Reading,
    class_counts,
    open_generated,
    open_real,
)
from frazil.evaluation.records import (
    INPUTS_FILE,
    LABEL,
    METRICS_FILE,
    NAME,
    SAMPLES_FILE,
    EvaluationInputs,
    read_evaluation,
    read_samples,
)
from frazil.evaluation.report.run import say_table, table_html
from frazil.evaluation.run import evaluate
from frazil.evaluation.scores import Better, Evaluation, Question
from frazil.evaluation.stages.run import STAGES
from frazil.io.copick.project import CONFIG_NAME
from frazil.io.labelled_folder import LABELS_FILE, LabelledFile, write_labels
from frazil.sampling.folder import PARTICLES, RUNS, write_copick, write_relion
from frazil.sampling.manifest import MANIFEST_FILE, SampleManifest

RECEIPT_FILE = "receipt.json"
BEFORE, AFTER = "evaluation-before", "evaluation"  # folders of the evaluations below the output


PREFERRED = ("typicality", "class doubt", "spectrum")
"""The first of these that exists decides, if the user names none: far from all that is real, of another class, of another texture."""


class FilteredVolume(Settings):
    """A volume, and the number that decided; None where it is unknown, and `file` None in a box store."""

    name: str
    file: str | None
    label: str
    number: float | None


class Effect(Settings):
    """A score before and after, each with its real baseline at the same count."""

    name: str
    title: str
    label: str | None
    question: Question
    unit: str
    better: Better
    before: float | None
    after: float | None
    real_before: float | None
    real_after: float | None


class Receipt(Document):
    """The content of ``receipt.json``. `limits` are the largest numbers kept, by class; `rule` says all in a sentence."""

    written_by: ClassVar[str] = "frazil filter"

    schema_version: int = 1
    kind: Literal["frazil filter receipt"] = "frazil filter receipt"
    complete: bool = False
    volumes_copied: bool
    generated: str
    generated_digest: str
    real_digest: str | None
    evaluation_digest: str
    keep: float
    by: str
    rule: str
    limits: dict[str, float | None]
    without_a_number: int
    counts: dict[Literal["before", "after"], dict[str, int]]
    dropped: tuple[FilteredVolume, ...]
    kept: tuple[FilteredVolume, ...]
    effect: tuple[Effect, ...] = ()


@dataclass(frozen=True)
class Filtered:
    """What a filtering left; a notebook shows its effect on the scores of all classes together."""

    path: Path
    receipt: Receipt

    @property
    def table(self) -> pd.DataFrame:
        """The scores of all classes together before and after, next to the real baseline."""
        rows = {row.title: (row.before, row.after, row.real_after) for row in self.receipt.effect if row.label is None}
        return pd.DataFrame.from_dict(rows, orient="index", columns=["before", "after", "real"])

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.receipt.rule)}</p>{table_html(self.table)}"


def filter_samples(
    generated: str | Path,
    out: str | Path,
    *,
    evaluation: str | Path | None = None,
    real: str | Path | None = None,
    keep: float = 0.9,
    by: str | None = None,
    only: str | Sequence[str] = (),
    list_only: bool = False,
    copick: bool = True,
    force: bool = False,
) -> Filtered:
    """Keep the better volumes of each class. The generated volumes stay where and as they are.

    Parameters
    ----------
    generated : what was evaluated.
    out : folder for copies of the volumes that are kept, `labels.csv`, `receipt.json` and their evaluation.
    evaluation : folder of `frazil evaluate` for `generated`; None makes one of the quick stages.
    real : box store; None takes that of the evaluation.
    keep : share of each class that is kept.
    by : number of `samples.csv` that decides, larger is worse; None takes the first of `PREFERRED` that exists.
    only : stages to run again on what is kept; empty takes those of the evaluation but usefulness, which takes long.
    list_only : write the receipt and copy no volumes.
    copick : also write samples as a copick project.
    force : replace the result of another filtering.

    Raises
    ------
    RequestError : nothing to filter by, or an evaluation of other volumes.
    SourceError, StoreError : what cannot be read.
    OutputError : `out` holds something else, or cannot be written.
    """
    generated, out = Path(generated), Path(out)
    if out.resolve() == generated.resolve():
        raise RequestError(f"{out}: holds the volumes themselves, none of which is removed; choose another folder")
    if evaluation is None:
        if real is None:
            raise RequestError(
                f"{generated}: no numbers to filter by; evaluate them and pass the folder as evaluation, or pass "
                "the real boxes as real"
            )
        say(f"{generated}: evaluating first, for numbers to filter by")
        evaluation = evaluate(real, generated, out / BEFORE, only="physics", report=False).path
    evaluation = Path(evaluation)
    before, samples = read_evaluation(evaluation), read_samples(evaluation)
    if not (boxes := Path(real or before.held_out.path)).exists():
        raise SourceError(f"{boxes}: the real boxes of the evaluation are gone; pass their folder as real")
    store = open_real(boxes)
    reading = EvaluationInputs.read(evaluation / INPUTS_FILE, SourceError).reading
    volumes = open_generated(generated, store, reading)
    _check_same(evaluation, before, volumes, reading, store)
    by = deciding_number(by, list(samples.columns.drop([NAME, LABEL])))
    if sorted(samples[NAME]) != sorted(volumes.names):
        raise SourceError(f"{evaluation / SAMPLES_FILE}: does not list the volumes that were evaluated; evaluate again")
    samples = samples.set_index(NAME).loc[list(volumes.names)].reset_index()
    kept = keep_best(samples[by].to_numpy(dtype=np.float64), np.array(volumes.labels), keep)
    receipt = _receipt(
        volumes,
        samples[by],
        kept,
        keep=keep,
        volumes_copied=bool(volumes.files) and not list_only,
        real_digest=before.held_out.digest,
        evaluation_digest=file_digest(evaluation / METRICS_FILE),
    )
    copies = [glob.escape(row.file) for row in receipt.kept if row.file is not None and receipt.volumes_copied]
    owned = (AFTER, RUNS, LABELS_FILE, MANIFEST_FILE, PARTICLES, CONFIG_NAME, *copies)
    folder = OutputFolder(out, RECEIPT_FILE, Receipt, owned, parts=(AFTER,))
    with folder.held():
        differ = partial(differences, free=("complete", "effect", "rule"))
        work, earlier = folder.begin(receipt, force=force, again=True, compare=differ)
        lost = work.check()
        if earlier is not None and earlier.complete and work is folder and not lost:
            say(f"{out}: already filtered; nothing to do")
            return Filtered(out, earlier)
        if receipt.volumes_copied:
            _copy(generated, work.path, volumes, receipt, copick=copick)
        say(f"{generated}: {len(receipt.kept)} of {len(volumes)} volumes kept; evaluating them")
        ran = {cost.name for cost in before.stages}
        after = evaluate(
            store.path,
            generated,
            work.path / AFTER,
            only=only or [stage for stage in STAGES if stage in ran and stage != "usefulness"],
            name=f"{before.name} filtered",
            names=[volume.name for volume in receipt.kept],
            **reading.model_dump(exclude={"names"}),
        ).evaluation
        receipt = receipt.model_copy(update={"complete": True, "effect": _effect(before, after)})
        receipt.write(work.record_path)
        work.finish()
    found = Filtered(out, receipt)
    say(f"{len(receipt.kept)} of {len(volumes)} volumes kept: {receipt.rule}")
    say_table(found.table)
    say_written(out / RECEIPT_FILE, "what was dropped and why, and the effect on every number")
    if receipt.volumes_copied:
        say_written(out / LABELS_FILE, "labels of the copies that are kept")
    return found


def deciding_number(by: str | None, available: Sequence[str]) -> str:
    """Return the name of the number to filter by; `RequestError` if it does not exist, or there is none to choose."""
    if by is None:
        by = next((name for name in PREFERRED if name in available), None)
        if by is None:
            raise RequestError(
                f"none of {', '.join(PREFERRED)} was measured; evaluate with the stage features or physics"
                + (f", or filter by {available[0]!r}" if available else "")
            )
    if by not in available:
        raise RequestError(
            f"by {by!r}: not measured; choose among {', '.join(available) or 'none'}, or evaluate with more stages"
        )
    return by


def keep_best(numbers: Float[np.ndarray, "n"], labels: np.ndarray, keep: float) -> Bool[np.ndarray, "n"]:
    """Return which volumes are kept: of each class the share `keep` with the smallest numbers, rounded up to whole volumes.

    Class by class, because otherwise a class that is hard to generate would lose most of its volumes. Volumes without a number
    (NaN) are kept.
    """
    if not 0 < keep <= 1:
        raise RequestError(f"keep {keep:g}: the share to keep must be above 0 and at most 1, e.g. 0.9")
    known = np.isfinite(numbers)
    if not known.any():
        raise RequestError("no volume has this number; filter by another, or sample more")
    kept = ~known
    for label in set(labels):
        own = np.flatnonzero((labels == label) & known)
        # 0.9 of 10 is 9, not 10: the product may come out slightly above
        wanted = math.ceil(round(keep * len(own), 9))
        kept[own[np.argsort(numbers[own], kind="stable")[:wanted]]] = True
    return np.asarray(kept)


def _check_same(
    folder: Path, evaluation: Evaluation, volumes: GeneratedVolumes, reading: Reading, store: BoxStore
) -> None:
    if evaluation.held_out.digest != store.digest:
        raise RequestError(
            f"{store.path}: not the real boxes of {folder}, or changed since, so before and after could not be compared; "
            "evaluate against them first, or pass those of the evaluation as real"
        )
    if reading.limit is not None:
        raise RequestError(
            f"{folder}: only {reading.limit} volumes of each class were evaluated (limit); evaluate all of them first"
        )
    if evaluation.generated.digest != volumes.digest:
        raise RequestError(
            f"{folder}: evaluates other volumes than {volumes.path}, or they have changed since; evaluate them again"
        )


def _receipt(volumes: GeneratedVolumes, numbers: pd.Series, kept: Bool[np.ndarray, "n"], **fields: Any) -> Receipt:
    files = volumes.files or [None] * len(volumes)
    rows = [
        FilteredVolume(name=name, file=file, label=label, number=number if math.isfinite(number) else None)
        for name, file, label, number in zip(volumes.names, files, volumes.labels, numbers, strict=True)
    ]
    stay = tuple(row for row, own in zip(rows, kept, strict=True) if own)
    dropped = sorted((row for row, own in zip(rows, kept, strict=True) if not own), key=lambda row: -(row.number or 0))
    largest = numbers[kept].groupby(np.array(volumes.labels)[kept]).max().sort_index()  # NaN where none is known
    limits = {label: None if math.isnan(limit) else float(limit) for label, limit in largest.items()}
    named = ", ".join(f"{label} {limit:.4g}" for label, limit in limits.items() if limit is not None)
    share, by = 100 * fields["keep"], str(numbers.name)
    return Receipt(
        generated=volumes.path.resolve().name,
        generated_digest=volumes.digest,
        by=by,
        rule=f"of each class, the {share:g} % with the smallest {by!r} are kept (rounded up); the largest kept: {named}",
        limits=limits,
        without_a_number=int(numbers.isna().sum()),
        counts={"before": class_counts(volumes.labels), "after": class_counts(row.label for row in stay)},
        dropped=tuple(dropped),
        kept=stay,
        **fields,
    )


def _copy(generated: Path, out: Path, volumes: GeneratedVolumes, receipt: Receipt, *, copick: bool) -> None:
    """Copy the volumes that are kept, with their labels; for samples of frazil also manifest, STAR and copick project."""
    kept = [LabelledFile(row.file, row.label) for row in receipt.kept if row.file is not None]
    for volume in kept:
        source, target = generated / volume.file, out / volume.file
        if not target.exists() or file_digest(target) != file_digest(source):
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)
    write_labels(out, kept)
    if volumes.kind == SAMPLES_KIND:
        manifest = SampleManifest.read(generated / MANIFEST_FILE, SourceError)
        names = {row.name for row in receipt.kept}
        samples = tuple(entry for entry in manifest.samples if entry.name in names)
        manifest = manifest.model_copy(update={"samples": samples})
        manifest.write(out / MANIFEST_FILE)
        write_relion(out, manifest)
        if copick:
            for entry in samples:
                masks = Path(RUNS, entry.name, "Segmentations")
                if (generated / masks).is_dir() and not (out / masks).exists():
                    with atomic_path(out / masks) as temporary:
                        shutil.copytree(generated / masks, temporary)
            write_copick(out, manifest, radius_angstrom={})


def _effect(before: Evaluation, after: Evaluation) -> tuple[Effect, ...]:
    """Pair every score that was measured again with what it was."""
    known = {(score.name, score.label): score for score in before.scores}
    pairs = [(known[key], score) for score in after.scores if (key := (score.name, score.label)) in known]
    return tuple(
        Effect(
            **new.model_dump(include={"name", "title", "label", "question", "unit", "better"}),
            before=old.value,
            after=new.value,
            real_before=old.real,
            real_after=new.real,
        )
        for old, new in pairs
    )
