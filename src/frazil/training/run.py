"""`frazil train`: a box store and a preset in; a run folder with checkpoint, losses, Figure 1 and a bundle out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from frazil.core.console import progress_bar, say, say_written, warn
from frazil.core.errors import BundleError, SettingsError
from frazil.core.folder import final_place
from frazil.core.presets import load_preset
from frazil.core.settings import SamplingSettings
from frazil.core.version import __version__
from frazil.dataset.examples import Examples
from frazil.model.bundle import (
    PRETRAINED,
    PRETRAINED_BOXES,
    PRETRAINED_TEACHER,
    RUN_BUNDLE,
    BundleCard,
    load_bundle,
    save_bundle,
)
from frazil.model.compute import Compute
from frazil.model.unet import ConditionalUNet
from frazil.plots.curves import loss_page, read_metrics
from frazil.plots.page import save_figure
from frazil.training.data import BoxData, TomogramData, open_data
from frazil.training.fit import Fit, fit, saved_network
from frazil.training.folder import (
    BEST_BUNDLE,
    EVENTS_NAME,
    FIGURE_NAME,
    METRICS_NAME,
    RunRecord,
    await_record,
    run_differences,
    run_folder,
)
from frazil.training.hardware import Hardware, is_first_process
from frazil.training.history import EpochRecord, MetricsWriter
from frazil.training.job import TrainingJob, check_memory
from frazil.training.result import TrainingRun
from frazil.training.start import Start, refuse_other_network

_WAITING_SHARE = 0.05
"""A larger share of the time spent waiting is worth a warning."""


def train(
    store: str | Path,
    out: str | Path,
    *,
    preset: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    start: str | Path | None = None,
    class_from: Mapping[str, str] | None = None,
    keep_classes: bool = False,
    other_voxel_size: bool = False,
    accelerator: str = "auto",
    devices: int = 1,
    num_nodes: int = 1,
    workers: int | None = None,
    max_seconds: float | None = None,
    force: bool = False,
) -> TrainingRun:
    """Train a model on a box store. Interrupted, the same call resumes; finished, it does nothing.

    Parameters
    ----------
    store : folder that `frazil curate` wrote: boxes, or whole tomograms.
    out : run folder for checkpoint, `metrics.csv`, `losses.png`, TensorBoard events and `bundle/`.
    preset : ``fast``, ``paper``, ``smoke``, ``layout``, or the path of a TOML file; None is ``fast`` for a box store and ``layout`` for a
        tomogram store.
    settings : override single settings of the preset: ``{"training.epochs": 20}``; see `frazil.core.settings.Preset`.
    start : bundle, run folder or ``"pretrained"``: start from its weights, and with its network, instead of fresh weights. Here
        ``"pretrained"`` is ``"pretrained-boxes"`` for boxes, and for tomograms ``"pretrained-teacher"``.
    class_from : with `start`: new class -> class of the bundle that it starts as. A class that both have starts as itself.
    keep_classes : with `start`: also keep its classes that the store does not have.
    other_voxel_size : with `start`: accept that the store has another voxel size.
    accelerator : ``auto``, ``cpu`` or ``gpu``.
    devices : processes on each node.
    num_nodes : nodes; SLURM is detected.
    workers : processes that prefetch batches for each device; None: none on a CPU, up to four with a GPU.
    max_seconds : stop before this time; the same call resumes later.
    force : replace a run with other settings; the same run still resumes.

    Returns
    -------
    The run: its losses, and `load()` for the model.

    Raises
    ------
    StoreError : the store is damaged or has no training boxes.
    OutputError : `out` holds a run with other settings, or cannot be written.
    BundleError : `start` is not a bundle, or damaged.
    SettingsError : settings, classes or devices that do not exist or do not fit together; too little memory.
    ShapeError : the network cannot halve the boxes.
    CheckpointError : the checkpoint of an earlier call is damaged.
    TrainingError : the loss became infinite or not a number.
    """
    end = None if max_seconds is None else time.monotonic() + max_seconds
    if start is None:
        given = {"class from": class_from, "keep classes": keep_classes, "other voxel size": other_voxel_size}
        for option in [name for name, value in given.items() if value]:
            raise SettingsError(f"{option}: applies to a bundle to start from; pass one with --from (in Python: start)")
    else:
        refuse_other_network(settings or {})
    data = open_data(Path(store))
    chosen = load_preset(preset or ("layout" if isinstance(data, TomogramData) else "fast"), settings)
    base = None
    if start is not None:
        if str(start) == PRETRAINED and not Path(start).exists():
            start = PRETRAINED_BOXES if isinstance(data, BoxData) else PRETRAINED_TEACHER
            say(f"a training on {data.what} starts from {start}")
        options = {"keep_classes": keep_classes, "other_voxel_size": other_voxel_size}
        base = Start.match(Path(start), data, class_from=class_from or {}, **options)
        chosen = base.take_over(chosen)
        if chosen.training.distill_steps and isinstance(data, TomogramData):
            data = TomogramData(data.store, base.bundle)
    hardware = Hardware(accelerator, devices, num_nodes, workers)
    job = TrainingJob(Path(out), data, data.complete(chosen), hardware, base, end)
    job.check()  # before a box is read or anything is written
    path, result = _train(job, force=force)
    return TrainingRun(path, result.finished)


def distill(
    bundle: str | Path,
    store: str | Path,
    out: str | Path,
    *,
    steps: int = 4,
    settings: Mapping[str, Any] | None = None,
    max_seconds: float | None = None,
    force: bool = False,
) -> TrainingRun:
    """Teach a copy of a model to make volumes in a few evaluations, as its teacher makes them in many.

    Progressive distillation (Salimans & Ho 2022) in one stage: the student learns to arrive in one step where its teacher arrives in four
    (`frazil.diffusion.distillation`). Guidance that the teacher's bundle suggests is learned too. A training as any other: interrupted, the
    same call resumes; its bundle samples with the sampler ``distilled`` in `steps` evaluations.

    Parameters
    ----------
    bundle : the teacher: a bundle, a run folder, or ``pretrained``.
    store : boxes or whole tomograms, of the teacher's classes; best what it was trained on.
    out : run folder.
    steps : network evaluations that the student needs for a volume.
    settings, max_seconds, force : see `train`.

    Raises
    ------
    SettingsError : too many steps, or other classes than the teacher's; else as `train`.
    """
    chosen = {"training.learning_rate": 1e-4, **(settings or {}), "training.distill_steps": steps}
    return train(store, out, settings=chosen, start=bundle, max_seconds=max_seconds, force=force)


def _train(asked: TrainingJob, *, force: bool) -> tuple[Path, Fit]:
    """Train in the folder of the run, or in its replacement; return where the run is then."""
    first, folder = is_first_process(), run_folder(asked.run)
    wanted = RunRecord.of(asked)

    def compare(old: RunRecord, _: RunRecord) -> list[str]:
        return run_differences(old, wanted)

    with ExitStack() as held:
        if first:
            earlier = folder.earlier(wanted, force=force, compare=compare)
            check_memory(_decided(asked, earlier))  # before anything is written
            held.enter_context(folder.held())
            work, earlier = folder.begin(RunRecord.of(_decided(asked, None)), force=force, compare=compare)
            if any(name.startswith(f"{BEST_BUNDLE}/") for name in work.check()):
                warn(f"{work.path / BEST_BUNDLE}: a part is gone, which only another training can make again")
        else:
            work, earlier = await_record(folder, wanted)
        job = replace(_decided(asked, earlier), run=work.path)
        if first:
            RunRecord.of(job).write(work.record_path)
        result = _fit(job, first=first)
        return work.finish() if first and result.finished else work.path, result


def _decided(job: TrainingJob, earlier: RunRecord | None) -> TrainingJob:
    """Return the job as the earlier call computed, or, where no precision is asked for, as suits the hardware."""
    asked = job.preset.training
    if earlier is not None:
        compute = earlier.compute
    elif asked.precision == "auto":
        compute = Compute.native(job.hardware.device.type)
    else:
        return job
    decided = {"precision": compute.precision, "memory_format": asked.memory_format or compute.memory_format}
    training_settings = asked.model_copy(update=decided)
    return replace(job, preset=job.preset.model_copy(update={"training": training_settings}))


def _fit(job: TrainingJob, *, first: bool) -> Fit:
    """Train, and write what follows from it, or what of it is gone."""
    in_memory = check_memory(job)
    training, validation = (
        job.data.examples(name, job.preset, job.labels, in_memory=in_memory) for name in ("train", "validation")
    )

    def write_bundle(network: ConditionalUNet, records: list[EpochRecord], best: bool = False) -> None:
        save_bundle(job.run / (BEST_BUNDLE if best else RUN_BUNDLE), network, _card(job, records))

    bar = progress_bar()
    bar.disable |= not first
    if first:
        _announce(job, training, validation)
    with bar:
        result = fit(job, training, validation, write_bundle=write_bundle, progress=bar)
    if first:
        if result.was_finished and _bundled_epochs(job.run) != result.records[-1].epoch:
            write_bundle(saved_network(job.run, job.preset, len(job.labels)), result.records)
        if result.was_finished and not (job.run / METRICS_NAME).exists():
            MetricsWriter(job.run, timesteps=job.preset.diffusion.timesteps)(result.records)
        figures = [job.run / f"{FIGURE_NAME}.{suffix}" for suffix in ("png", "pdf")]
        if result.records and not (result.was_finished and all(figure.exists() for figure in figures)):
            save_figure(loss_page(read_metrics(job.run / METRICS_NAME)).figure, job.run / FIGURE_NAME)
        _report(job, result)
    return result


def _bundled_epochs(run: Path) -> float | None:
    """Return how many epochs the bundle of the run has seen; None if there is no whole bundle."""
    try:
        return load_bundle(run / RUN_BUNDLE).card.losses.get("epochs")
    except BundleError:
        return None


def _card(job: TrainingJob, records: list[EpochRecord]) -> BundleCard:
    described, start = job.data.description, job.start
    losses: dict[str, float] = {}
    if records:
        newest = records[-1]
        losses = {"epochs": newest.epoch, "train_loss": newest.train_loss}
    if validated := [record.validation_loss for record in records if record.validation_loss is not None]:
        losses["validation_loss"] = validated[-1]
    radii = job.data.radii_angstrom
    provenance = f"trained by frazil {__version__} on {described.source_path}"
    if start is not None:
        known = start.bundle.card.radius_angstrom
        radii = {label: radius for label, radius in known.items() if label in start.labels} | radii
        provenance += f"; started from the weights of: {start.bundle.card.provenance}"
    seen = () if start is None else start.bundle.card.tomograms_seen
    preset = job.preset
    if steps := preset.training.distill_steps:
        student = SamplingSettings(sampler="distilled", steps=steps)
        preset = preset.model_copy(update={"sampling": student})
        provenance = f"a student of {steps} evaluations; its teacher: {start.bundle.card.provenance if start else ''}"
    return BundleCard(
        preset=preset,
        labels=job.labels,
        voxel_size_angstrom=described.voxel_size_angstrom,
        box_size_voxel=job.data.box_size_voxel(job.preset),
        tilt_range_degrees=described.tilt_range_degrees,
        normalisation=job.preset.training.normalisation,
        training_data_digest=job.data.digest,
        moments=job.data.moments(job.preset),
        tomograms_seen=tuple(sorted({*seen, *job.data.tomograms_seen()})),
        radius_angstrom=radii,
        layouts=job.data.statistics(),
        losses=losses,
        base_digest=None if start is None else start.bundle.digest,
        provenance=provenance,
    )


def _announce(job: TrainingJob, training: Examples, validation: Examples) -> None:
    described, preset = job.data.description, job.preset
    say(
        f"preset {preset.name}, {preset.model.conditioning} conditioning, {Compute.of(preset.training)}, "
        f"{job.hardware.processes} device(s)"
    )
    say(
        f"{len(training)} training and {len(validation)} validation {job.data.what} of {job.edge_voxel}^3 voxels at "
        f"{described.voxel_size_angstrom:.3f} A, {len(described.labels)} classes"
        + (f", label maps: {', '.join(preset.model.layout_maps)}" if preset.model.layout_maps else "")
    )
    if not len(validation):
        warn(f"no validation {job.data.what}: the validation loss will stay empty")
    unseen = job.data.unseen()
    if unseen:
        warn(f"no training box shows {', '.join(unseen)}: the model cannot learn it")
    if job.start is not None:
        say(str(job.start))


def _report(job: TrainingJob, result: Fit) -> None:
    run, epochs = final_place(job.run) if result.finished else job.run, job.preset.training.epochs
    if result.was_finished:
        say(f"{run}: all {epochs} epochs are finished; nothing to do (raise epochs to continue)")
        return
    best = _say_losses(result, epochs) if result.records else ""
    if not result.finished:
        stopped = "the time is up" if result.records else "stopped before the end of the first epoch"
        say(f"{stopped}; rerun the same command to resume")
    written = {
        RUN_BUNDLE: "bundle, for frazil sample",
        BEST_BUNDLE: best,
        METRICS_NAME: "losses by epoch and noise level",
        f"{FIGURE_NAME}.png": "Figure 1",
        EVENTS_NAME: "for tensorboard --logdir",
    }
    for name, what in written.items():
        if (job.run / name).exists():
            say_written(run / name, what)


def _say_losses(result: Fit, epochs: int) -> str:
    """Say what training has come to, and return what the best bundle is; an empty text if nothing was validated."""
    newest = result.records[-1]
    validated = [(r.validation_loss, r.epoch) for r in result.records if r.validation_loss is not None]
    text, best = f"epoch {newest.epoch}/{epochs}: train {newest.train_loss:.4f}", ""
    if validated:
        text += f", validation {validated[-1][0]:.4f}"
        best = f"the bundle of epoch {min(validated)[1]}, with the lowest validation loss ({min(validated)[0]:.4f})"
    share = f"{newest.waiting_share:.1%} of the time was spent waiting for boxes"
    say(f"{text}, {newest.seconds / 60:.1f} minutes of training; {share}")
    if newest.waiting_share > _WAITING_SHARE:
        warn(f"{share}: reading or drawing noise is too slow for the network; use 2 workers, or more")
    return best
