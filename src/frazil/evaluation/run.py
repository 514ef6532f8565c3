"""`frazil evaluate`: real boxes and generated volumes in; scores, verdicts, examples and a report out."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from frazil.core.console import progress_bar, say, say_written, warn
from frazil.core.errors import FrazilError, OutputError, RequestError, SourceError
from frazil.core.files import exclusive, make_folder, output_errors, read_json, text_digest, write_json
from frazil.core.version import __version__
from frazil.dataset.store import BoxStore
from frazil.evaluation.examples.choice import make_examples
from frazil.evaluation.examples.files import write_examples
from frazil.evaluation.inputs.boxes import Compared, read_sets
from frazil.evaluation.inputs.grid import Grid, common_grid
from frazil.evaluation.inputs.judged import Judged, JudgedOptions, open_judged, open_real
from frazil.evaluation.records import (
    EXAMPLES_FILE,
    METRICS_FILE,
    REPORT_FILE,
    SAMPLES_FILE,
    STAGE_FOLDER,
    SampleTable,
    StageRecord,
    read_evaluation,
    read_stage,
    write_evaluation,
    write_samples,
)
from frazil.evaluation.report.run import say_verdicts, write_html
from frazil.evaluation.scores import SCHEMA_VERSION, Evaluation
from frazil.evaluation.stages.learned import LearnedEmbedding, all_embeddings, cache_folder
from frazil.evaluation.stages.material import Material
from frazil.evaluation.stages.run import STAGES, Stage, run_stage
from frazil.evaluation.verdict.verdict import judged_anew

INPUTS_FILE = f"{STAGE_FOLDER}/inputs.json"
KIND = "frazil evaluation inputs"

_FILES = (METRICS_FILE, SAMPLES_FILE, EXAMPLES_FILE, REPORT_FILE)


@dataclass(frozen=True)
class EvaluateOptions:
    """How to evaluate.

    Parameters
    ----------
    seed : of everything that is drawn.
    only : stages to run; empty runs all. Stages that an earlier call finished stay.
    name : of the generator, in comparisons; None takes the folder's.
    judged : how to read the generated volumes.
    resample : bring generated volumes to the real voxel size, and crop the larger boxes.
    quick : let stages that can take a quarter of the time and say less (usefulness: one seed, no intervals).
    threads : of torch; None leaves it.
    report : also write the HTML file.
    force : replace an evaluation of other inputs.
    """

    seed: int = 0
    only: tuple[str, ...] = ()
    name: str | None = None
    judged: JudgedOptions = field(default_factory=JudgedOptions)
    resample: bool = False
    quick: bool = False
    threads: int | None = None
    report: bool = True
    force: bool = False


def evaluate(
    real: Path,
    generated: Path,
    out: Path,
    *,
    options: EvaluateOptions | None = None,
    stages: Mapping[str, Stage] = STAGES,
) -> Evaluation:
    """Judge generated volumes against the held-out boxes of a store, or go on where an earlier call was interrupted.

    Parameters
    ----------
    real : box store with a split: training boxes, and held-out (validation) boxes.
    generated : folder of `frazil sample`, any folder of MRC files with labels, or another box store.
    out : folder for `metrics.json`, `samples.csv`, `examples.npz`, `report.html` and what each stage found.
    stages : the stages, in the order in which they run.

    Raises
    ------
    StoreError : the real store is damaged or has no split.
    SourceError, RequestError : generated volumes that cannot be read, or do not fit the real ones.
    OutputError : `out` holds an evaluation of other inputs, or cannot be written.
    """
    options = options or EvaluateOptions()
    wanted = _stages(options.only, stages)
    if options.threads is not None:
        _set_threads(options.threads)
    store = open_real(real)
    judged = open_judged(generated, store, replace(options.judged, seed=options.seed))
    grid = common_grid(store, generated, judged.grid, resample=options.resample)
    inputs = _inputs(store, judged, grid, options.seed)
    digest = text_digest(json.dumps(inputs))
    name = options.name or generated.resolve().name
    with _leaving_nothing(out), exclusive(out, "evaluates"):
        same = _check(out, inputs, force=options.force)
        kept = {
            stage: record
            for stage in stages
            if same and (record := read_stage(out, stage)) and record.input_digest == digest
        }
        pending = [stage for stage in wanted if stage not in kept or (kept[stage].quick and not options.quick)]
        if not pending and _is_written(out, kept):
            return _nothing_to_run(out, name, wanted, report=options.report)
        compared = _read(store, judged, grid, options.seed)
        if not same:  # not before everything is known to be readable
            _begin(out, inputs, options)
        if done := [stage for stage in kept if stage not in pending]:
            say(f"{out}: {', '.join(done)} done already; going on with {', '.join(pending) or 'the report'}")
        missing = {stage: stages[stage] for stage in pending}
        kept |= _run(out, missing, store, compared, quick=options.quick, digest=digest)
        records = [kept[stage] for stage in stages if stage in kept]
        evaluation = _gather(name, compared, records, options.seed)
        _write(out, evaluation, compared, records, report=options.report)
    say_verdicts(evaluation)
    _say_files(out, report=options.report)
    return evaluation


def _stages(only: Sequence[str], stages: Mapping[str, Stage]) -> list[str]:
    if unknown := [stage for stage in only if stage not in stages]:
        raise RequestError(f"--only {','.join(only)}: no stage {unknown[0]!r}; choose among {', '.join(stages)}")
    return [stage for stage in stages if stage in only or not only]


def _set_threads(threads: int) -> None:
    import torch

    if threads < 1:
        raise RequestError(f"--threads {threads}: nothing can run; give at least 1")
    torch.set_num_threads(threads)


def _inputs(store: BoxStore, judged: Judged, grid: Grid, seed: int) -> dict[str, Any]:
    """Return everything that decides what the stages find."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "frazil_version": __version__,
        "real": store.path.resolve().name,
        "real_digest": store.digest,
        "generated": judged.path.resolve().name,
        "generated_digest": judged.digest,
        "voxel_size_angstrom": grid.voxel_size_angstrom,
        "box_size_voxel": grid.box_size_voxel,
        "tilt_range_degrees": store.description.tilt_range_degrees and list(store.description.tilt_range_degrees),
        "seed": seed,
    }


@contextmanager
def _leaving_nothing(out: Path) -> Iterator[None]:
    """Make the folder; remove it again if what was asked for cannot be done and nothing has been written."""
    new = not out.exists()
    make_folder(out)
    try:
        yield
    except FrazilError:
        if new and not any((out / name).exists() for name in (INPUTS_FILE, *_FILES)):
            shutil.rmtree(out, ignore_errors=True)
        raise


def _check(out: Path, inputs: dict[str, Any], *, force: bool) -> bool:
    """Say whether an earlier call in `out` compared the same; refuse if it compared something else, without `force`."""
    path = out / INPUTS_FILE
    there = read_json(path, OutputError) if path.exists() else None
    if there is not None and not force and all(there.get(key) == inputs[key] for key in inputs):
        return True
    begun = any((out / name).exists() for name in (*_FILES, *(f"{STAGE_FOLDER}/{stage}.json" for stage in STAGES)))
    if there is not None and not begun:
        return False  # nothing was finished: nothing is lost
    if there is None and (other := next((file for file in _FILES if (out / file).exists()), None)):
        raise OutputError(
            f"{out / other}: frazil evaluate did not write it and will not replace it; choose another folder"
        )
    if there is not None:
        changed = [
            key.replace("_", " ")
            for key in inputs
            if there.get(key) != inputs[key] and key not in ("real", "generated")
        ]
        if not force:
            raise OutputError(
                f"{out}: holds an evaluation of other inputs ({', '.join(changed)}: {there.get('generated')} against "
                f"{there.get('real')}); choose another folder, or pass --force to replace it"
            )
    return False


def _begin(out: Path, inputs: dict[str, Any], options: EvaluateOptions) -> None:
    """Remove what `frazil evaluate` wrote before, and write what is compared now."""
    if (out / INPUTS_FILE).exists():
        _remove(out)
    how = {
        "judged": asdict(replace(options.judged, seed=options.seed)),
        "resample": options.resample,
        "seed": options.seed,
    }
    write_json(out / INPUTS_FILE, inputs | {"options": how})


def read_options(folder: Path) -> EvaluateOptions:
    """Return how the volumes of a finished evaluation were read, to read them so again.

    Raises
    ------
    SourceError : `frazil evaluate` did not write the folder.
    """
    path = folder / INPUTS_FILE
    content = read_json(path, SourceError)
    try:
        how = dict(content["options"])
        judged = JudgedOptions(**how.pop("judged"))
        return EvaluateOptions(judged=replace(judged, names=tuple(judged.names) if judged.names else None), **how)
    except (KeyError, TypeError, ValueError) as fault:
        raise SourceError(f"{path}: damaged ({fault}); run frazil evaluate again with --force") from None


def _is_written(out: Path, kept: Mapping[str, StageRecord]) -> bool:
    """Say whether the files are there and tell of every stage that was finished; a killed call may have left one untold."""
    if not all((out / file).exists() for file in _FILES[:3]):
        return False
    told = read_evaluation(out).scores
    return all(score in told for record in kept.values() for score in record.scores)


def _remove(out: Path) -> None:
    with output_errors(out):
        for path in [*(out / file for file in _FILES), *(out / STAGE_FOLDER).glob("*.json")]:
            path.unlink(missing_ok=True)


def _nothing_to_run(out: Path, name: str, wanted: Sequence[str], *, report: bool) -> Evaluation:
    """Say that everything is there; write the report, or the new name, where only that is missing."""
    evaluation = judged_anew(read_evaluation(out))
    renamed = evaluation.name != name
    if renamed:
        evaluation = evaluation.model_copy(update={"name": name})
        write_evaluation(out, evaluation)
    say(f"{out}: {', '.join(wanted)} done already; nothing to do")
    if report and (renamed or not (out / REPORT_FILE).exists()):
        write_html(out)
        say_written(out / REPORT_FILE, "the report")
    say_verdicts(evaluation)
    return evaluation


def _read(store: BoxStore, judged: Judged, grid: Grid, seed: int) -> Compared:
    with progress_bar() as bar:
        task = bar.add_task("reading volumes", total=len(judged) + len(store))
        compared = read_sets(store, judged, grid, seed=seed, on_volume=lambda: bar.advance(task))
        bar.update(task, total=bar.tasks[task].completed)
    sets = compared.sets
    say(
        f"{len(sets.generated)} generated volumes against {len(sets.held_out)} held-out boxes, {len(sets.training)} training boxes: "
        f"{grid.box_size_voxel}^3 voxels of {grid.voxel_size_angstrom:.3f} A"
    )
    for warning in compared.warnings:
        warn(warning)
    return compared


def _run(
    out: Path, stages: Mapping[str, Stage], store: BoxStore, compared: Compared, *, quick: bool, digest: str
) -> dict[str, StageRecord]:
    """Run stages; each is kept as soon as it is finished."""
    if not stages:
        return {}
    learned = LearnedEmbedding(store.digest, compared.generated.box_size_voxel, compared.sets.seed, cache_folder())
    material = Material(compared.sets, store.description.tilt_range_degrees, all_embeddings(learned), quick)
    with progress_bar(counted=False) as bar:
        return {
            name: run_stage(out, name, stage, material, learned, input_digest=digest, bar=bar)
            for name, stage in stages.items()
        }


def _gather(name: str, compared: Compared, records: Sequence[StageRecord], seed: int) -> Evaluation:
    scores = tuple(score for record in records for score in record.scores)
    found = Evaluation(
        name=name,
        generated=compared.generated,
        held_out=compared.held_out,
        training=compared.training,
        seed=seed,
        verdicts=(),
        scores=scores,
        plots=tuple(plot for record in records for plot in record.plots),
        close_pairs=tuple(pair for record in records for pair in record.close_pairs),
        stages=tuple(cost for record in records for cost in record.costs),
        warnings=(*compared.warnings, *dict.fromkeys(text for record in records for text in record.warnings)),
    )
    return judged_anew(found)


def _write(
    out: Path, evaluation: Evaluation, compared: Compared, records: Sequence[StageRecord], *, report: bool
) -> None:
    """Write everything; metrics.json last but the report, so that what it says is there."""
    generated = compared.sets.generated
    numbers = {
        name: tuple(math.nan if value is None else value for value in values)
        for record in records
        for name, values in record.per_sample.items()
    }
    write_samples(out, SampleTable(generated.names, tuple(map(str, generated.labels)), numbers))
    write_examples(out / EXAMPLES_FILE, make_examples(compared.sets, evaluation.close_pairs))
    write_evaluation(out, evaluation)
    if report:
        write_html(out)


def _say_files(out: Path, *, report: bool) -> None:
    if report:
        say_written(out / REPORT_FILE, "the report: open it in a browser")
    say_written(out / METRICS_FILE, "all numbers, for machines")
    say_written(out / SAMPLES_FILE, "numbers of each volume, for frazil filter")
