"""`frazil evaluate`: real boxes and generated volumes in; scores, verdicts, examples and a report out."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from frazil.core.console import progress_bar, say, say_written, warn
from frazil.core.documents import differences
from frazil.core.errors import FrazilError, RequestError, SourceError
from frazil.core.executor import MOST_WORKERS
from frazil.core.files import write_text
from frazil.core.folder import final_place
from frazil.core.records import same_voxel_size
from frazil.core.settings import check_number, check_seed
from frazil.dataset.slices import RealSlices, read_real_slices
from frazil.dataset.store import BoxStore
from frazil.evaluation.examples import make_examples, write_examples
from frazil.evaluation.inputs.boxes import Compared, read_sets
from frazil.evaluation.inputs.generated import GeneratedVolumes, Reading, open_generated, open_real
from frazil.evaluation.inputs.grid import Grid, common_grid
from frazil.evaluation.records import (
    EXAMPLES_FILE,
    LABEL,
    METRICS_FILE,
    NAME,
    REPORT_FILE,
    SAMPLES_FILE,
    EvaluationInputs,
    StageRecord,
    evaluation_folder,
    read_evaluation,
    score_table,
    stage_file,
)
from frazil.evaluation.report.run import report_of_held as write_report
from frazil.evaluation.report.run import say_verdicts, table_html
from frazil.evaluation.scores import Evaluation, SetDescription, StageCost
from frazil.evaluation.stages.curves import CURVES_STAGE
from frazil.evaluation.stages.learned import LearnedEmbedding, all_embeddings, cache_folder
from frazil.evaluation.stages.material import Material
from frazil.evaluation.stages.run import STAGES, run_stage
from frazil.evaluation.verdicts import with_verdicts
from frazil.io.cells import csv_text


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation in a folder; a notebook shows its verdicts, and its scores next to their real baselines."""

    path: Path
    evaluation: Evaluation

    @property
    def report(self) -> Path:
        """The HTML report, if one was written."""
        return self.path / REPORT_FILE

    @property
    def scores(self) -> pd.DataFrame:
        """All scores, one per row."""
        return score_table([self.evaluation])

    def _repr_html_(self) -> str:
        verdicts = pd.DataFrame([verdict.model_dump() for verdict in self.evaluation.verdicts])
        scores = pd.DataFrame(
            {"": one.title, "generated": one.value, "real": one.real, "noise": one.noise, "unit": one.unit}
            for one in self.evaluation.scores
            if one.label is None
        )
        shown = "".join(table_html(table, index=False) for table in (verdicts, scores))
        return f"<b>{html.escape(self.evaluation.name)}</b>{shown}<p>{html.escape(str(self.path))}</p>"


def evaluate(
    real: str | Path | None,
    generated: str | Path,
    out: str | Path,
    *,
    against_curves: str | Path | None = None,
    only: str | Sequence[str] = (),
    seed: int = 0,
    name: str | None = None,
    labels: Mapping[int, str] | None = None,
    voxel_size_angstrom: float | None = None,
    limit: int | None = None,
    names: Sequence[str] | None = None,
    resample: bool = False,
    quick: bool = False,
    threads: int | None = None,
    report: bool = True,
    force: bool = False,
) -> Evaluated:
    """Compare generated volumes with the held-out boxes of a store, or resume an interrupted evaluation.

    Parameters
    ----------
    real : box store with a split: training boxes, and held-out (validation) boxes; None compares with `against_curves` alone.
    generated : folder of `frazil sample`, copick project (boxes around its picks are compared), any folder of MRC files with
        labels, or another box store.
    out : folder for `metrics.json`, `samples.csv`, `examples.npz`, `report.html` and what each stage found.
    against_curves : also compare with curves (JSON) or slices (NPZ, or a folder of MRC cubes) of real data whose volumes are
        not at hand; docs/reference/formats.md.
    only : stages to run; empty runs all. Stages that an earlier call finished are kept.
    seed : of everything that is drawn.
    name : of the generator, in comparisons; None takes the folder's.
    labels : names of classes that file names give as numbers.
    voxel_size_angstrom : of the generated volumes, if their headers are wrong.
    limit : generated volumes per class at most, drawn by the seed; None takes all.
    names : only these generated volumes; None takes all.
    resample : bring generated volumes to the real voxel size, and crop the larger boxes.
    quick : let usefulness take a quarter of the time and say less: one seed, no intervals.
    threads : of torch; None leaves it.
    report : also write the HTML file.
    force : replace an evaluation of other inputs.

    Raises
    ------
    StoreError : the real store is damaged or has no split.
    SourceError, RequestError : generated volumes that cannot be read, or do not fit the real ones.
    OutputError : `out` holds an evaluation of other inputs, or cannot be written.
    ShapeError : boxes too small for a stage, or volumes that it cannot measure.
    """
    generated, out = Path(generated), Path(out)
    only = (only,) if isinstance(only, str) else only
    possible = [stage for stage in STAGES if (against_curves if stage == CURVES_STAGE else real) is not None]
    if real is None and against_curves is None:
        raise RequestError("nothing to compare with; give real boxes, or curves of real data")
    if unknown := [stage for stage in only if stage not in possible]:
        raise RequestError(f"only {','.join(only)}: no stage {unknown[0]!r}; choose among {', '.join(possible)}")
    if voxel_size_angstrom is not None and not 0 < voxel_size_angstrom < math.inf:
        raise RequestError(
            f"voxel size {voxel_size_angstrom:g}: not a voxel size; give the true size in angstrom, above 0"
        )
    check_seed(seed, RequestError)
    if threads is not None:
        import torch

        check_number("threads", threads, RequestError, most=MOST_WORKERS)
        torch.set_num_threads(threads)
    reading = Reading(
        labels=dict(labels) if labels is not None else None,
        voxel_size_angstrom=voxel_size_angstrom,
        limit=limit,
        names=tuple(names) if names is not None else None,
        resample=resample,
        seed=seed,
    )
    store = open_real(Path(real)) if real is not None else None
    volumes = open_generated(generated, store, reading)
    curves, grids = None, []
    if store is not None:
        grids.append((store.path, Grid.of_store(store)))
    if against_curves is not None:
        # an archive that does not say its voxel size is taken to have that of the volumes
        curves = read_real_slices(Path(against_curves), voxel_size_angstrom=volumes.grid.voxel_size_angstrom)
        grids.append((Path(against_curves), Grid(curves.curves.voxel_size_angstrom, curves.curves.edge_voxel)))
    grid = common_grid(*grids[0], generated, volumes.grid, resample=resample)
    for of, other in grids[1:]:
        if not same_voxel_size(other.voxel_size_angstrom, grid.voxel_size_angstrom):
            raise RequestError(
                f"{of}: measured at {other.voxel_size_angstrom:g} A, but {grids[0][0]} has voxels of {grid.voxel_size_angstrom:g} A; "
                f"curate the boxes at {other.voxel_size_angstrom:g} A, or leave out one of the two"
            )
    inputs = _inputs(store, volumes, grid, reading, curves)
    wanted = [stage for stage in possible if stage in only or not only]
    name = name or generated.resolve().name
    folder = evaluation_folder(out)
    with folder.held():
        work, earlier = folder.begin(inputs, force=force, again=True, compare=_differences)
        work.check()
        files = {stage: stage_file(work.path, stage) for stage in possible if earlier is not None}
        kept = {stage: StageRecord.read(file, SourceError) for stage, file in files.items() if file.exists()}
        if earlier is not None and earlier.curves_digest != inputs.curves_digest:
            kept.pop(CURVES_STAGE, None)
            inputs.write(work.record_path)
        pending = [stage for stage in wanted if stage not in kept or (kept[stage].quick and not quick)]
        if not pending and _is_written(work.path, kept):
            say(f"{out}: {', '.join(wanted)} already finished; nothing to do")
            evaluation = _renamed(work.path, name, report=report)
        else:
            try:
                compared = _read(store, volumes, inputs, curves, against_curves)
            except FrazilError:
                if earlier is None:
                    work.abandon()
                raise
            if done := [stage for stage in kept if stage not in pending]:
                say(f"{out}: {', '.join(done)} already finished; resuming with {', '.join(pending) or 'the report'}")
            if pending:
                kept |= _run(work.path, pending, store, compared, curves, quick=quick)
            ordered = {stage: kept[stage] for stage in STAGES if stage in kept}
            evaluation = _write(work.path, name, compared, ordered, report=report)
        work.finish()
    say_verdicts(evaluation, [cost for record in kept.values() for cost in record.costs if cost.seconds is not None])
    return Evaluated(out, evaluation)


def _inputs(
    store: BoxStore | None, volumes: GeneratedVolumes, grid: Grid, reading: Reading, curves: RealSlices | None
) -> EvaluationInputs:
    return EvaluationInputs(
        real=store.path.resolve().name if store is not None else "",
        real_digest=store.digest if store is not None else "",
        generated=volumes.path.resolve().name,
        generated_digest=volumes.digest,
        voxel_size_angstrom=grid.voxel_size_angstrom,
        box_size_voxel=grid.box_size_voxel,
        tilt_range_degrees=store.description.tilt_range_degrees if store is not None else None,
        curves_digest=curves.digest if curves is not None else None,
        seed=reading.seed,
        reading=reading,
    )


def _differences(old: EvaluationInputs, new: EvaluationInputs) -> list[str]:
    """Name what makes the stages find something else. Numbers of two versions of frazil are not mixed."""
    found = differences(old, new, ("real", "generated", "reading", "curves_digest"))
    if old.frazil_version != new.frazil_version:
        found.append(f"frazil_version {old.frazil_version} -> {new.frazil_version}")
    return found


def _is_written(out: Path, kept: Mapping[str, StageRecord]) -> bool:
    """Return whether all files exist and include every finished stage; a killed call may have left one out."""
    if not all((out / file).exists() for file in (METRICS_FILE, SAMPLES_FILE, EXAMPLES_FILE)):
        return False
    written = read_evaluation(out).scores
    return all(score in written for record in kept.values() for score in record.scores)


def _renamed(out: Path, name: str, *, report: bool) -> Evaluation:
    """Return a finished evaluation; write its new name, or its report, where only that is missing."""
    evaluation = with_verdicts(read_evaluation(out))
    renamed = evaluation.name != name
    if renamed:
        evaluation = evaluation.model_copy(update={"name": name})
        evaluation.write(out / METRICS_FILE)
    if report and (renamed or not (out / REPORT_FILE).exists()):
        write_report(out)
    return evaluation


def _read(
    store: BoxStore | None,
    volumes: GeneratedVolumes,
    inputs: EvaluationInputs,
    curves: RealSlices | None,
    curves_path: str | Path | None,
) -> Compared:
    grid = Grid(inputs.voxel_size_angstrom, inputs.box_size_voxel)
    compared = read_sets(store, volumes, grid, seed=inputs.seed)
    sets = compared.sets
    if curves is not None:
        own = curves.curves
        compared = replace(
            compared,
            curves=SetDescription(
                path=str(curves_path),
                kind="curves of real slices",
                digest=inputs.curves_digest,
                voxel_size_angstrom=own.voxel_size_angstrom,
                box_size_voxel=curves.curves.edge_voxel,
                counts=own.per_class or {"subtomograms": own.subtomograms},
            ),
        )
    against = [
        f"{len(sets.held_out)} held-out boxes, {len(sets.training)} training boxes" if store is not None else "",
        f"curves of {curves.curves.subtomograms} real subtomograms" if curves is not None else "",
    ]
    say(
        f"{len(sets.generated)} generated volumes against {' and '.join(filter(None, against))}: "
        f"{grid.box_size_voxel}^3 voxels of {grid.voxel_size_angstrom:.3f} A"
    )
    for warning in compared.warnings:
        warn(warning)
    return compared


def _run(
    out: Path,
    pending: Sequence[str],
    store: BoxStore | None,
    compared: Compared,
    curves: RealSlices | None,
    *,
    quick: bool,
) -> dict[str, StageRecord]:
    """Run stages; each is kept as soon as it is finished."""
    digest, tilts = (store.digest, store.description.tilt_range_degrees) if store is not None else ("", None)
    learned = LearnedEmbedding(digest, compared.generated.box_size_voxel, compared.sets.seed, cache_folder())
    material = Material(compared.sets, tilts, all_embeddings(learned), quick, curves)
    with progress_bar(counted=False) as bar:
        return {stage: run_stage(out, stage, STAGES[stage], material, learned, bar=bar) for stage in pending}


def _write(out: Path, name: str, compared: Compared, found: Mapping[str, StageRecord], *, report: bool) -> Evaluation:
    """Write what the stages found; metrics.json last but the report, so that what it refers to exists."""
    records = found.values()
    evaluation = with_verdicts(
        Evaluation(
            name=name,
            generated=compared.generated,
            held_out=compared.held_out,
            training=compared.training,
            curves=compared.curves,
            seed=compared.sets.seed,
            verdicts=(),
            scores=tuple(score for record in records for score in record.scores),
            plots=tuple(plot for record in records for plot in record.plots),
            close_pairs=tuple(pair for record in records for pair in record.close_pairs),
            stages=tuple(StageCost(name=stage) for stage in found),
            warnings=(*compared.warnings, *dict.fromkeys(text for record in records for text in record.warnings)),
        )
    )
    generated = compared.sets.generated
    numbers = {column: values for record in records for column, values in record.per_sample.items()}
    samples = pd.DataFrame({NAME: generated.names, LABEL: generated.labels, **numbers})
    write_text(out / SAMPLES_FILE, csv_text(samples))
    write_examples(out / EXAMPLES_FILE, make_examples(compared.sets, evaluation.close_pairs))
    evaluation.write(out / METRICS_FILE)
    if report:
        write_report(out)
    say_written(final_place(out) / METRICS_FILE, "all numbers, for machines")
    say_written(final_place(out) / SAMPLES_FILE, "numbers of each volume, for frazil filter")
    return evaluation
