"""The command `frazil train`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.options import Force, Setting, parse_duration, parse_pairs, parse_settings

_start = partial(typer.Option, rich_help_panel="Start from a trained bundle")
_boxes = partial(typer.Option, rich_help_panel="Boxes")
_optimization = partial(typer.Option, rich_help_panel="Optimization")
_hardware = partial(typer.Option, rich_help_panel="Hardware")


def train_command(
    store: Annotated[
        Path, typer.Argument(help="Store that [bold]frazil curate[/bold] wrote: boxes, or whole tomograms.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder: checkpoint, losses, Figure 1, bundle.")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="paper, fast, layout, smoke, or a TOML file.  [dim]\\[default: fast, or layout for whole tomograms][/dim]"
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, shuffling and noise.")] = None,
    setting: Setting = None,
    force: Force = False,
    start: Annotated[
        Path | None, _start("--from", metavar="BUNDLE", help="Start with the network and weights of this bundle.")
    ] = None,
    class_from: Annotated[
        list[str] | None, _start(metavar="NEW=OLD", help="Class NEW starts as the bundle's class OLD; repeatable.")
    ] = None,
    keep_classes: Annotated[
        bool, _start("--keep-classes", help="Keep classes of the bundle that the store lacks.")
    ] = False,
    other_voxel_size: Annotated[
        bool, _start("--other-voxel-size", help="Allow a store with another voxel size.")
    ] = False,
    freeze: Annotated[
        list[str] | None,
        _start(metavar="PART", help="Keep embedding, encoder, bottleneck, decoder or output as it is; repeatable."),
    ] = None,
    half_turns: Annotated[
        bool | None,
        _boxes("--half-turns/--no-half-turns", help="Randomly turn boxes by 180 degrees; the missing wedge stays."),
    ] = None,
    box: Annotated[int | None, _boxes(metavar="VOXELS", help="Train on a smaller cube of each box.")] = None,
    shift: Annotated[
        int | None, _boxes(metavar="VOXELS", help="With --box: shift that cube at random by up to this much.")
    ] = None,
    epochs: Annotated[int | None, _optimization(help="Passes over the training boxes; may be raised later.")] = None,
    batch_size: Annotated[int | None, _optimization(help="Boxes per optimizer step, over all devices.")] = None,
    accumulate: Annotated[
        int | None, _optimization(metavar="N", help="Split each step into N passes to save memory.")
    ] = None,
    learning_rate: Annotated[float | None, _optimization(help="Learning rate of Adam, constant.")] = None,
    validate_every: Annotated[int | None, _optimization(metavar="EPOCHS", help="Epochs between validations.")] = None,
    precision: Annotated[
        str | None, _hardware(help="32-true, bf16-mixed, or auto (bf16 if the device has it).")
    ] = None,
    accelerator: Annotated[str, _hardware(help="auto, cpu or gpu.")] = "auto",
    devices: Annotated[int, _hardware(min=1, help="Processes per node, one per GPU.")] = 1,
    num_nodes: Annotated[int, _hardware(min=1, help="Nodes; SLURM is detected.")] = 1,
    workers: Annotated[int | None, _hardware(min=0, help="Processes per device that load boxes ahead.")] = None,
    max_time: Annotated[
        str | None, _hardware(metavar="TIME", help="Stop in time: minutes, HH:MM:SS or DD:HH:MM:SS.")
    ] = None,
) -> None:
    """Train the conditional diffusion model on what curate wrote.

    If it is interrupted or runs out of time, rerun the same command to resume.
    """
    from frazil.training.run import train

    chosen = {
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "learning_rate": learning_rate,
        "precision": precision,
        "half_turns": half_turns,
        "box_size_voxel": box,
        "shift_voxel": shift,
        "freeze": freeze or None,
        "validate_every": validate_every,
        "seed": seed,
    }
    overrides = {f"training.{key}": value for key, value in chosen.items() if value is not None}
    train(
        store,
        out,
        preset=preset,
        settings=overrides | parse_settings(setting),
        start=start,
        class_from=parse_pairs("--class-from", class_from, "NEW=OLD", "ferritin=apo-ferritin"),
        keep_classes=keep_classes,
        other_voxel_size=other_voxel_size,
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        workers=workers,
        max_seconds=parse_duration(max_time) if max_time else None,
        force=force,
    )
