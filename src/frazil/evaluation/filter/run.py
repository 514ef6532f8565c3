"""`frazil filter`: generated volumes and their evaluation in; the better ones, a receipt, and the effect on every number out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from frazil.core.console import console, say, say_written
from frazil.core.errors import OutputError, RequestError, SourceError
from frazil.core.files import atomic_path, file_digest, make_folder, output_errors, read_json, write_json
from frazil.core.version import __version__
from frazil.dataset.store import BoxStore
from frazil.evaluation.filter.selection import Selection, deciding_number, keep_best, said
from frazil.evaluation.inputs.judged import SAMPLES_KIND, Judged, class_counts, open_judged, open_real
from frazil.evaluation.records import METRICS_FILE, read_evaluation, read_samples
from frazil.evaluation.run import EvaluateOptions, evaluate, read_options
from frazil.evaluation.scores import Evaluation
from frazil.evaluation.stages.run import STAGES, Stage
from frazil.io.copick.project import CONFIG_NAME
from frazil.io.labelled_folder import LABELS_FILE, LabelledFile, write_labels
from frazil.sampling.folder import PARTICLES, RUNS, write_copick, write_relion
from frazil.sampling.manifest import MANIFEST_FILE, SampleManifest, read_record, write_record

SCHEMA_VERSION = 1
KIND = "frazil filter receipt"
RECEIPT_FILE = "receipt.json"
BEFORE, AFTER = "evaluation-before", "evaluation"
"""Folders of the evaluations below the output."""

DEAR = ("usefulness",)
"""Stages that are not run again unless they are asked for."""

CHEAP = ("physics",)
"""Stages of the evaluation that is made where there is none."""


@dataclass(frozen=True)
class FilterOptions:
    """What to drop.

    Parameters
    ----------
    keep : share of each class that stays.
    by : number of `samples.csv` that decides; None takes the first that is there of `frazil.evaluation.filter.selection.PREFERRED`.
    only : stages to run again on what stays; empty takes those of the evaluation but the dear ones.
    list_only : write the receipt and no volumes.
    copick : also write samples as a copick project.
    force : replace what another filtering left.
    """

    keep: float = 0.9
    by: str | None = None
    only: tuple[str, ...] = ()
    list_only: bool = False
    copick: bool = True
    force: bool = False


def filter_samples(
    generated: Path,
    out: Path,
    *,
    evaluation: Path | None = None,
    real: Path | None = None,
    options: FilterOptions | None = None,
    stages: Mapping[str, Stage] = STAGES,
) -> dict[str, Any]:
    """Keep the better volumes of each class. What is generated stays where and as it is.

    Parameters
    ----------
    generated : what was evaluated.
    out : folder for copies of the volumes that stay, `labels.csv`, `receipt.json` and their evaluation.
    evaluation : folder of `frazil evaluate` for `generated`; None makes one of the cheap stages.
    real : box store; None takes that of the evaluation.

    Returns
    -------
    The receipt.

    Raises
    ------
    RequestError : nothing to judge by, or an evaluation of other volumes.
    SourceError, StoreError : what cannot be read.
    OutputError : `out` holds something else, or cannot be written.
    """
    options = options or FilterOptions()
    _check_out(out, generated)
    if evaluation is None:
        evaluation = _evaluate_first(generated, real, out, stages)
    before, table = read_evaluation(evaluation), read_samples(evaluation)
    store = open_real(real or _real_path(before))
    how = read_options(evaluation)
    judged = open_judged(generated, store, how.judged)
    _check_same(evaluation, before, judged, how, store)
    by = deciding_number(options.by, list(table.numbers))
    selection = keep_best(np.array(table.numbers[by]), np.array(table.labels), options.keep)
    receipt = _receipt(evaluation, before, judged, table.numbers[by], selection, by, options)
    if (there := _begin(out, receipt, force=options.force)) is not None:
        say(f"{out}: filtered already; nothing to do")
        return there
    if receipt["volumes_copied"]:
        _copy(generated, out, judged, selection, copick=options.copick)
    kept = tuple(name for name, stays in zip(judged.names, selection.kept, strict=True) if stays)
    say(f"{generated}: {len(kept)} of {len(judged)} volumes stay; judged again")
    after = evaluate(
        store.path,
        generated,
        out / AFTER,
        options=replace(
            how,
            judged=replace(how.judged, names=kept),
            only=_stages(before, options, stages),
            name=f"{before.name} filtered",
        ),
        stages=stages,
    )
    receipt |= {"complete": True, "effect": effect(before, after)}
    write_json(out / RECEIPT_FILE, receipt)
    _say(out, receipt)
    return receipt


def effect(before: Evaluation, after: Evaluation) -> list[dict[str, Any]]:
    """Return every score that was measured again, before and after, each beside the real number at the same count."""
    old = {(score.name, score.label): score for score in before.scores}
    rows = []
    for score in after.scores:
        known = old.get((score.name, score.label))
        if known is None:
            continue
        rows.append(
            {
                "name": score.name,
                "title": score.title,
                "label": score.label,
                "question": score.question,
                "unit": score.unit,
                "better": score.better,
                "before": known.value,
                "after": score.value,
                "real_before": known.real,
                "real_after": score.real,
            }
        )
    return rows


def _check_out(out: Path, generated: Path) -> None:
    if out.resolve() == generated.resolve():
        raise RequestError(
            f"--out {out}: the volumes themselves lie there, and none of them is removed; choose another folder"
        )


def _evaluate_first(generated: Path, real: Path | None, out: Path, stages: Mapping[str, Stage]) -> Path:
    if real is None:
        raise RequestError(
            f"{generated}: no numbers to filter by; run frazil evaluate REAL {generated} --out DIR and pass --evaluation DIR, "
            "or pass --real REAL"
        )
    say(f"{generated}: judged first, to have numbers to filter by")
    options = EvaluateOptions(only=tuple(stage for stage in CHEAP if stage in stages), report=False)
    evaluate(real, generated, out / BEFORE, options=options, stages=stages)
    return out / BEFORE


def _real_path(evaluation: Evaluation) -> Path:
    path = Path(evaluation.held_out.path)
    if not path.exists():
        raise SourceError(
            f"{path}: the real boxes of the evaluation are no longer there; pass --real with their folder"
        )
    return path


def _check_same(folder: Path, evaluation: Evaluation, judged: Judged, how: EvaluateOptions, store: BoxStore) -> None:
    if evaluation.held_out.digest != store.digest:
        raise RequestError(
            f"{store.path}: not the real boxes that {folder} judged by, or they have changed since, so that before and after could "
            "not be compared; evaluate against them first, or pass --real with those of the evaluation"
        )
    if how.judged.limit is not None:
        raise RequestError(
            f"{folder}: at most {how.judged.limit} volumes of each class were judged (--limit); evaluate all of them first"
        )
    if evaluation.generated.digest != judged.digest:
        raise RequestError(
            f"{folder}: evaluates other volumes than those of {judged.path}, or they have changed since; evaluate them again"
        )


def _stages(before: Evaluation, options: FilterOptions, stages: Mapping[str, Stage]) -> tuple[str, ...]:
    """Return the stages to run again: so many as were asked for, or those that the evaluation had and that are cheap."""
    if options.only:
        return options.only
    ran = {cost.name for cost in before.stages}
    return tuple(stage for stage in stages if stage in ran and stage not in DEAR)


def _receipt(
    folder: Path,
    evaluation: Evaluation,
    judged: Judged,
    numbers: Sequence[float],
    selection: Selection,
    by: str,
    options: FilterOptions,
) -> dict[str, Any]:
    files = judged.files or [None] * len(judged)
    rows = [
        {"name": name, "file": file, "label": label, "number": number if np.isfinite(number) else None}
        for name, file, label, number in zip(judged.names, files, judged.labels, numbers, strict=True)
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "frazil_version": __version__,
        "complete": False,
        "volumes_copied": not options.list_only and bool(judged.files),
        "generated": judged.path.resolve().name,
        "generated_digest": judged.digest,
        "real_digest": evaluation.held_out.digest,
        "evaluation_digest": file_digest(folder / METRICS_FILE),
        "keep": options.keep,
        "by": by,
        "rule": said(by, options.keep, selection.limits),
        "limits": selection.limits,
        "without_a_number": selection.unknown,
        "counts": {
            "before": class_counts(judged.labels),
            "after": class_counts(label for label, kept in zip(judged.labels, selection.kept, strict=True) if kept),
        },
        "dropped": sorted(
            (row for row, kept in zip(rows, selection.kept, strict=True) if not kept), key=lambda row: -row["number"]
        ),
        "kept": [row for row, kept in zip(rows, selection.kept, strict=True) if kept],
        "effect": [],
    }


def _begin(out: Path, receipt: dict[str, Any], *, force: bool) -> dict[str, Any] | None:
    """Write what stays, or check that it is what an earlier call kept; return the receipt of one that was finished.

    Raises
    ------
    OutputError : `out` holds another filtering.
    """
    path = out / RECEIPT_FILE
    there = read_json(path, OutputError) if path.exists() else None
    if there is not None and not force:
        if any(there.get(key) != receipt[key] for key in receipt if key not in ("complete", "effect")):
            raise OutputError(
                f"{out}: holds volumes that were filtered otherwise (--keep {there.get('keep')} --by {there.get('by')!r} of "
                f"{there.get('generated')}); choose another folder, or pass --force to replace them"
            )
        if there.get("complete"):
            return there
    if there is not None and force:
        _remove(out, there)
    make_folder(out)
    write_json(path, receipt)
    return None


def _remove(out: Path, receipt: dict[str, Any]) -> None:
    """Remove what an earlier filtering copied, and nothing else."""
    with output_errors(out):
        for row in receipt.get("kept", []):
            if receipt.get("volumes_copied") and (file := row.get("file")) and ".." not in Path(file).parts:
                (out / Path(file)).unlink(missing_ok=True)
        for name in (AFTER, RUNS):
            if (out / name).is_dir():
                shutil.rmtree(out / name)
        for name in (RECEIPT_FILE, LABELS_FILE, MANIFEST_FILE, PARTICLES, CONFIG_NAME):
            (out / name).unlink(missing_ok=True)


def _copy(generated: Path, out: Path, judged: Judged, selection: Selection, *, copick: bool) -> None:
    """Copy the volumes that stay, with their labels; of samples of frazil also manifest, STAR and copick project."""
    kept = [row for row, stays in enumerate(selection.kept) if stays]
    for row in kept:
        source, target = generated / judged.files[row], out / judged.files[row]
        if not target.exists() or file_digest(target) != file_digest(source):
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)
    write_labels(out, [LabelledFile(judged.files[row], judged.labels[row]) for row in kept])
    if judged.kind != SAMPLES_KIND:
        return
    manifest = read_record(generated / MANIFEST_FILE, SampleManifest, SourceError)
    names = {judged.names[row] for row in kept}
    manifest = manifest.model_copy(
        update={"samples": tuple(entry for entry in manifest.samples if entry.name in names)}
    )
    write_record(out / MANIFEST_FILE, manifest)
    write_relion(out, manifest)
    if copick:
        write_copick(out, manifest, radius_angstrom={})


def _say(out: Path, receipt: dict[str, Any]) -> None:
    before, after = receipt["counts"]["before"], receipt["counts"]["after"]
    say(f"{sum(after.values())} of {sum(before.values())} volumes stay: {receipt['rule']}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "before", "after", "real"):
        table.add_column(column, justify="left" if not column else "right")
    for row in receipt["effect"]:
        if row["label"] is None:
            numbers = (row["before"], row["after"], row["real_after"])
            table.add_row(row["title"], *("–" if value is None else f"{value:.3g}" for value in numbers))
    console.print(table)
    say_written(out / RECEIPT_FILE, "what was dropped and why, and the effect on every number")
    if receipt["volumes_copied"]:
        say_written(out / LABELS_FILE, "labels of the copies that stay")
