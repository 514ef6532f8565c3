"""`frazil train`: a box store and a preset in; a run folder with checkpoint, losses, Figure 1 and a bundle out."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from frazil.bundle import RUN_BUNDLE, BundleCard, load_bundle, save_bundle
from frazil.dataset.store import BoxStore
from frazil.dataset.subtomograms import Subtomograms
from frazil.errors import BundleError, OutputError, StoreError
from frazil.io.files import exclusive, make_folder, output_errors, read_json, write_json
from frazil.model.unet import check_box_size
from frazil.records import Moments
from frazil.reporting.curves import loss_page, read_metrics
from frazil.reporting.page import save_figure
from frazil.settings import Preset
from frazil.training.fit import CHECKPOINT_NAME, Fit, Hardware, epoch_plan, fit, is_first_process, saved_network
from frazil.training.history import EpochRecord
from frazil.version import __version__
from frazil.workflows.console import progress_bar, say, say_written, warn

SCHEMA_VERSION = 1
RUN_FILE = "run.json"
BEST_BUNDLE = "bundle-best"


def train(
    store: Path,
    run: Path,
    preset: Preset,
    *,
    hardware: Hardware | None = None,
    max_seconds: float | None = None,
    force: bool = False,
) -> Fit:
    """Train on the boxes of `store`, or go on where an earlier call in `run` was interrupted.

    Parameters
    ----------
    store : folder that `frazil curate` wrote.
    run : folder for checkpoint, `metrics.csv`, `losses.png`, TensorBoard events and `bundle/`.
    hardware : accelerator, devices, nodes, strategy; None: one device, the best there is.
    max_seconds : stop before this time; the same call goes on later.
    force : clear away a run with other settings; the same run still goes on.

    Raises
    ------
    StoreError : the store is damaged or has no training boxes.
    OutputError : `run` was trained with other settings, or cannot be written.
    SettingsError, CheckpointError, ShapeError : see `frazil.training.fit.fit`.
    """
    end = None if max_seconds is None else time.monotonic() + max_seconds
    boxes = BoxStore.open(store)
    check_box_size([boxes.description.box_size_voxel] * 3, preset.model)
    hardware = hardware or Hardware()
    in_memory = _fits_in_memory(boxes, hardware.devices)
    training, validation = (
        Subtomograms(boxes, split, preset.training.normalisation, in_memory=in_memory)
        for split in ("train", "validation")
    )
    if not len(training):
        raise StoreError(f"{store}: no box is in the training split; curate with other --validation-run")
    hardware.check()
    epoch_plan(preset, len(training), hardware)  # refuses what cannot be shared before anything is written
    first = is_first_process()
    described = _describe_run(preset, boxes)

    def write_bundle(network: nn.Module, records: list[EpochRecord], best: bool = False) -> None:
        save_bundle(run / (BEST_BUNDLE if best else RUN_BUNDLE), network, _card(preset, boxes, records))

    bar = progress_bar()
    bar.disable = not first
    with ExitStack() as held:
        if first:
            _prepare_run(run, described, held, force=force)
            _announce(boxes, training, validation, preset, hardware)
        else:
            _await_run(run, described)
        with bar:
            result = fit(
                preset,
                training,
                validation,
                label_count=len(boxes.description.labels),
                run=run,
                hardware=hardware,
                write_bundle=write_bundle,
                progress=bar,
                end=end,
            )
        if first:
            if result.was_finished and _bundled_epochs(run) != result.records[-1].epoch:
                write_bundle(saved_network(run, preset, len(boxes.description.labels)), result.records)
            if result.records and not (result.was_finished and (run / "losses.png").exists()):
                save_figure(loss_page(read_metrics(run / "metrics.csv")).figure, run / "losses")
            _report(run, preset, result)
    return result


def _fits_in_memory(boxes: BoxStore, devices: int) -> bool:
    """Tell whether all boxes of each process may stay in memory: they take at most a quarter of what the machine has."""
    needed = boxes.description.box_count * boxes.description.box_size_voxel**3 * 4 * devices
    return needed < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 4


def _describe_run(preset: Preset, boxes: BoxStore) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "frazil training run",
        "frazil": __version__,
        "preset": preset.model_dump(mode="json"),
        "store": str(boxes.path.resolve()),
        "store_digest": boxes.digest,
        "command": shlex.join(["frazil", *sys.argv[1:]]),
    }


def _prepare_run(run: Path, described: dict[str, Any], held: ExitStack, *, force: bool) -> None:
    """Write what this run is, or check that the run in the folder is the same one; `force` clears away another.

    The folder stays locked until `held` is closed.
    """
    if run.exists() and not run.is_dir():
        raise OutputError(f"{run}: is a file; choose a folder")
    if (run / RUN_FILE).exists():
        try:
            different = _differences(read_json(run / RUN_FILE, OutputError), described)
        except OutputError:
            if not force:
                raise
            different = ["it is damaged"]
        if different and not force:
            raise OutputError(
                f"{run}: holds a run with other settings ({'; '.join(different)}); "
                "train into another folder, or pass --force to begin anew"
            )
    else:
        different = [path.name for path in run.iterdir() if not path.name.startswith(".")] if run.exists() else []
        if different and not force:
            raise OutputError(f"{run}: is not empty and holds no training run; choose another folder, or pass --force")
    make_folder(run)
    held.enter_context(exclusive(run, "trains"))
    if different:
        _clear(run)
    write_json(run / RUN_FILE, described)


def _clear(run: Path) -> None:
    """Remove what a training wrote, and nothing else."""
    with output_errors(run):
        for name in (CHECKPOINT_NAME, "metrics.csv", "losses.png", "losses.pdf", RUN_FILE):
            (run / name).unlink(missing_ok=True)
        for name in (RUN_BUNDLE, BEST_BUNDLE, "tensorboard"):
            shutil.rmtree(run / name, ignore_errors=True)


def _await_run(run: Path, described: dict[str, Any], *, seconds: float = 120.0) -> None:
    """Wait until the first process has prepared the folder: launchers such as SLURM's start all processes at once.

    Raises
    ------
    OutputError : it did not; the folder is not shared by the nodes, or the first process has stopped.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (run / RUN_FILE).exists() and not _differences(read_json(run / RUN_FILE, OutputError), described):
            return
        time.sleep(0.2)
    raise OutputError(f"{run}: the first process did not prepare it; is the folder on a disk that all nodes share?")


def _bundled_epochs(run: Path) -> float | None:
    """Return how many epochs the bundle of the run has seen; None where there is no whole bundle."""
    try:
        return load_bundle(run / RUN_BUNDLE).card.losses.get("epochs")
    except BundleError:
        return None


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Name what makes two runs different. More epochs, other validation dates and another place of the store do not."""
    if old.get("schema_version", 0) > SCHEMA_VERSION:
        return [f"schema {old['schema_version']} of a newer frazil"]
    found = []
    old_preset = _complete(old.get("preset", {}))
    if old.get("store_digest") != new["store_digest"]:
        found.append("another box store")
    for section, values in new["preset"].items():
        if section in ("curate", "sampling", "name"):
            continue
        before = old_preset.get(section, {})
        for key, value in values.items():
            if before.get(key) != value and (section, key) not in {
                ("training", "epochs"),
                ("training", "validate_every"),
            }:
                found.append(f"{section}.{key} was {before.get(key)}, is {value}")
    return found


def _complete(preset: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of an earlier run with the defaults of those that did not exist when it began."""
    try:
        return Preset.model_validate(preset).model_dump(mode="json")
    except ValidationError:
        return preset


def _card(preset: Preset, boxes: BoxStore, records: list[EpochRecord]) -> BundleCard:
    described = boxes.description
    newest = records[-1] if records else None
    validated = [record for record in records if record.validation_loss is not None]
    losses: dict[str, float] = {}
    if newest is not None:
        losses = {"epochs": newest.epoch, "train_loss": newest.train_loss, "training_hours": newest.seconds / 3600}
    if validated and validated[-1].validation_loss is not None:
        losses["validation_loss"] = validated[-1].validation_loss
    return BundleCard(
        preset=preset,
        labels=described.labels,
        voxel_size_angstrom=described.voxel_size_angstrom,
        box_size_voxel=described.box_size_voxel,
        tilt_range_degrees=described.tilt_range_degrees,
        normalisation=preset.training.normalisation,
        training_data_digest=boxes.digest,
        moments=_typical_moments(preset, boxes),
        radius_angstrom={c.label: c.diameter_angstrom / 2 for c in described.counts if c.diameter_angstrom},
        losses=losses,
        provenance=f"trained by frazil {__version__} on {described.source_path}",
    )


def _typical_moments(preset: Preset, boxes: BoxStore) -> Moments:
    """Return the median mean and standard deviation of a box, which turn z-scores back into grey values."""
    columns = [f"{name}_{preset.training.normalisation}" for name in ("mean", "std")]
    mean, std = boxes.particles[columns].median()
    return Moments(float(mean), float(std))


def _announce(
    boxes: BoxStore, training: Subtomograms, validation: Subtomograms, preset: Preset, hardware: Hardware
) -> None:
    described = boxes.description
    say(
        f"preset {preset.name}, {preset.model.conditioning} conditioning, {preset.training.precision}, "
        f"{hardware.processes} device(s)"
    )
    say(
        f"{len(training)} training and {len(validation)} validation boxes of {described.box_size_voxel}^3 voxels at "
        f"{described.voxel_size_angstrom:.3f} A, {len(described.labels)} classes"
    )
    if not len(validation):
        warn("no validation boxes: the validation loss will stay empty")
    unseen = [label for number, label in enumerate(described.labels) if number not in set(training.labels)]
    if unseen:
        warn(f"no training box shows {', '.join(unseen)}: the model cannot learn it")


def _report(run: Path, preset: Preset, result: Fit) -> None:
    if result.was_finished:
        say(f"{run}: all {preset.training.epochs} epochs are done, nothing to do; raise --epochs to go on")
        return
    if not result.records:
        say("stopped before the end of the first epoch; run the same command again to continue")
        return
    newest = result.records[-1]
    validated = [(r.validation_loss, r.epoch) for r in result.records if r.validation_loss is not None]
    text = f"epoch {newest.epoch}/{preset.training.epochs}: train {newest.train_loss:.4f}"
    best = ""
    if validated:
        text += f", validation {validated[-1][0]:.4f}"
        best = f"the same at epoch {min(validated)[1]}, where the validation loss was lowest ({min(validated)[0]:.4f})"
    say(f"{text}, {newest.seconds / 60:.1f} minutes of training")
    if not result.finished:
        say("the time is up; run the same command again to continue")
    for path, what in [
        (run / RUN_BUNDLE, "bundle, for frazil sample"),
        (run / BEST_BUNDLE, best),
        (run / "metrics.csv", "losses by epoch and noise level"),
        (run / "losses.png", "Figure 1"),
        (run / "tensorboard", "for tensorboard --logdir"),
    ]:
        if path.exists():
            say_written(path, what)
