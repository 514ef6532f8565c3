"""`frazil train`: a box store and a preset in; a run folder with checkpoint, losses, Figure 1 and a bundle out."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from torch import nn

from frazil.core.console import progress_bar, say, say_written, warn
from frazil.core.errors import BundleError
from frazil.core.records import Moments
from frazil.core.settings import Preset
from frazil.core.version import __version__
from frazil.dataset.store import BoxStore
from frazil.dataset.subtomograms import Subtomograms
from frazil.model.bundle import RUN_BUNDLE, BundleCard, load_bundle, save_bundle
from frazil.model.compute import Compute
from frazil.plots.curves import loss_page, read_metrics
from frazil.plots.page import save_figure
from frazil.training.fit import Fit, Hardware, fit, is_first_process, saved_network
from frazil.training.folder import BEST_BUNDLE, RunFolder
from frazil.training.history import EpochRecord
from frazil.training.limits import check_memory, check_training, choose_compute, training_edge, variation_of
from frazil.training.start import BaseRequest, TrainingBase

_WAITING_SHARE = 0.05
"""More than this is worth a word."""


def train(
    store: Path,
    run: Path,
    preset: Preset,
    *,
    start: BaseRequest | None = None,
    hardware: Hardware | None = None,
    max_seconds: float | None = None,
    force: bool = False,
) -> Fit:
    """Train on the boxes of `store`, or go on where an earlier call in `run` was interrupted.

    Parameters
    ----------
    store : folder that `frazil curate` wrote.
    run : folder for checkpoint, `metrics.csv`, `losses.png`, TensorBoard events and `bundle/`.
    start : the bundle whose weights the training begins with, and with it its network; None begins with fresh weights.
    hardware : accelerator, devices, nodes, strategy; None: one device, the best there is.
    max_seconds : stop before this time; the same call goes on later.
    force : clear away a run with other settings; the same run still goes on.

    Raises
    ------
    StoreError : the store is damaged or has no training boxes.
    OutputError : `run` was trained with other settings, or cannot be written.
    BundleError : there is no bundle to start from, or it is damaged.
    SettingsError, CheckpointError, ShapeError : see `frazil.training.fit.fit` and `TrainingBase.match`.
    """
    end = None if max_seconds is None else time.monotonic() + max_seconds
    hardware = hardware or Hardware()
    boxes = BoxStore.open(store)
    base = None if start is None else TrainingBase.match(start, boxes)
    labels = boxes.description.labels if base is None else base.labels
    preset = preset if base is None else base.take_over(preset)
    # what cannot be is refused before a box is read or anything written
    check_training(boxes, preset, hardware, given_network=base is not None)
    variation = variation_of(boxes, preset)
    first = is_first_process()
    described = None if base is None else base.described()
    there = (
        RunFolder.check(run, preset, boxes, base=described, force=force)
        if first
        else RunFolder.await_first(run, preset, boxes, base=described)
    )
    preset, probed = choose_compute(preset, boxes, hardware, kept=there.compute)
    if probed is not None:
        say(str(probed))
    in_memory = check_memory(boxes, preset, hardware)
    training, validation = (
        Subtomograms(boxes, split, preset.training.normalisation, in_memory=in_memory, classes=labels)
        for split in ("train", "validation")
    )

    def write_bundle(network: nn.Module, records: list[EpochRecord], best: bool = False) -> None:
        save_bundle(run / (BEST_BUNDLE if best else RUN_BUNDLE), network, _card(preset, boxes, base, records))

    bar = progress_bar()
    bar.disable = not first
    with ExitStack() as held:
        if first:
            there.prepare(preset, boxes, held, base=described, probed=probed)
            _announce(boxes, training, validation, preset, hardware)
            if base is not None:
                say(str(base))
        with bar:
            result = fit(
                preset,
                training,
                validation,
                label_count=len(labels),
                run=run,
                hardware=hardware,
                write_bundle=write_bundle,
                progress=bar,
                variation=variation,
                base=None if base is None else base.weights,
                end=end,
            )
        if first:
            if result.was_finished and _bundled_epochs(run) != result.records[-1].epoch:
                write_bundle(saved_network(run, preset, len(labels)), result.records)
            if result.records and not (result.was_finished and (run / "losses.png").exists()):
                save_figure(loss_page(read_metrics(run / "metrics.csv")).figure, run / "losses")
            _report(run, preset, result)
    return result


def _bundled_epochs(run: Path) -> float | None:
    """Return how many epochs the bundle of the run has seen; None where there is no whole bundle."""
    try:
        return load_bundle(run / RUN_BUNDLE).card.losses.get("epochs")
    except BundleError:
        return None


def _card(preset: Preset, boxes: BoxStore, base: TrainingBase | None, records: list[EpochRecord]) -> BundleCard:
    described = boxes.description
    newest = records[-1] if records else None
    validated = [record for record in records if record.validation_loss is not None]
    losses: dict[str, float] = {}
    if newest is not None:
        losses = {"epochs": newest.epoch, "train_loss": newest.train_loss, "training_hours": newest.seconds / 3600}
    if validated and validated[-1].validation_loss is not None:
        losses["validation_loss"] = validated[-1].validation_loss
    radii = {c.label: c.diameter_angstrom / 2 for c in described.counts if c.diameter_angstrom}
    return BundleCard(
        preset=preset,
        labels=described.labels if base is None else base.labels,
        voxel_size_angstrom=described.voxel_size_angstrom,
        box_size_voxel=training_edge(boxes, preset),
        tilt_range_degrees=described.tilt_range_degrees,
        normalisation=preset.training.normalisation,
        training_data_digest=boxes.digest,
        moments=_typical_moments(preset, boxes),
        radius_angstrom=radii if base is None else base.radius_angstrom | radii,
        losses=losses,
        base_digest=None if base is None else base.bundle.digest,
        provenance=f"trained by frazil {__version__} on {described.source_path}"
        + ("" if base is None else f"; began with the weights of: {base.bundle.card.provenance}"),
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
        f"preset {preset.name}, {preset.model.conditioning} conditioning, {Compute.of(preset.training)}, "
        f"{hardware.processes} device(s)"
    )
    say(
        f"{len(training)} training and {len(validation)} validation boxes of {training_edge(boxes, preset)}^3 voxels at "
        f"{described.voxel_size_angstrom:.3f} A, {len(described.labels)} classes"
    )
    if not len(validation):
        warn("no validation boxes: the validation loss will stay empty")
    seen = set(boxes.particles.iloc[training.indices]["label"])
    unseen = [label for label in described.labels if label not in seen]
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
    share = f"{newest.waiting_share:.1%} of them waiting for boxes"
    say(f"{text}, {newest.seconds / 60:.1f} minutes of training, {share}")
    if newest.waiting_share > _WAITING_SHARE:
        warn(f"{share}: reading or drawing noise is too slow for the network; pass --workers 2, or more")
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
