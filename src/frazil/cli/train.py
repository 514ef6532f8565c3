"""The command `frazil train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.options import Force, Setting, parse_duration, parse_settings


def train_command(
    store: Annotated[Path, typer.Argument(help="Box store that [bold]frazil curate[/bold] wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder: checkpoint, losses, Figure 1, bundle.")],
    preset: Annotated[str, typer.Option(help="paper, fast, smoke, or a TOML file.")] = "fast",
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="BUNDLE", help="Begin with the weights, and the network, of a trained bundle."),
    ] = None,
    class_from: Annotated[
        list[str] | None,
        typer.Option(metavar="NEW=OLD", help="With --from: class NEW begins as its class OLD; may be repeated."),
    ] = None,
    keep_classes: Annotated[
        bool, typer.Option("--keep-classes", help="With --from: also keep its classes that the store does not have.")
    ] = False,
    other_voxel_size: Annotated[
        bool, typer.Option("--other-voxel-size", help="With --from: though the store has another voxel size.")
    ] = False,
    freeze: Annotated[
        list[str] | None,
        typer.Option(help="Keep a part as it is: embedding, encoder, bottleneck, decoder, output; may be repeated."),
    ] = None,
    half_turns: Annotated[
        bool | None,
        typer.Option("--half-turns/--no-half-turns", help="Turn boxes by 180 degrees, as the wedge allows."),
    ] = None,
    box: Annotated[int | None, typer.Option(help="Train on a smaller cube of each box, voxels.")] = None,
    shift: Annotated[
        int | None, typer.Option(metavar="VOXELS", help="With --box: move that cube at random, up to so far.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training boxes; may be raised later.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Boxes per optimiser step, over all devices.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Share a step between N passes, to save memory.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of Adam, constant.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="32-true, bf16-mixed, or auto: the faster one here, found in a second.")
    ] = None,
    memory_format: Annotated[
        str | None, typer.Option(help="contiguous, channels-last or auto; else what suits the precision.")
    ] = None,
    ema: Annotated[float | None, typer.Option(help="Decay of the average of the weights; 0 keeps none.")] = None,
    normalisation: Annotated[str | None, typer.Option(help="padded (the paper) or measured voxels only.")] = None,
    validate_every: Annotated[int | None, typer.Option(help="Epochs between validations.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, shuffling and noise.")] = None,
    setting: Setting = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or gpu.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes on each node.")] = 1,
    num_nodes: Annotated[int, typer.Option(min=1, help="Nodes; SLURM is detected.")] = 1,
    strategy: Annotated[str, typer.Option(help="Lightning strategy; auto is DDP for several devices.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=0, help="Prefetching processes for each device.")] = None,
    max_time: Annotated[str | None, typer.Option(help="Stop before this time: MM, HH:MM:SS or DD:HH:MM:SS.")] = None,
    force: Force = False,
) -> None:
    """Train the conditional diffusion model on a box store.

    Killed or out of time, the same command goes on where it stood.
    """
    from frazil.core.presets import load_preset
    from frazil.training.fit import Hardware
    from frazil.training.run import train
    from frazil.training.start import base_request, refuse_other_network

    chosen = {
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "learning_rate": learning_rate,
        "precision": precision,
        "memory_format": memory_format,
        "ema_decay": ema,
        "normalisation": normalisation,
        "half_turns": half_turns,
        "box_size_voxel": box,
        "shift_voxel": shift,
        "freeze": freeze or None,
        "validate_every": validate_every,
        "seed": seed,
    }
    overrides = {f"training.{key}": value for key, value in chosen.items() if value is not None}
    settings = parse_settings(setting or [])
    request = base_request(
        start, class_from=class_from or (), keep_classes=keep_classes, other_voxel_size=other_voxel_size
    )
    if request is not None:
        refuse_other_network(settings)
    train(
        store,
        out,
        load_preset(preset, overrides | settings),
        start=request,
        hardware=Hardware(accelerator, devices, num_nodes, strategy, workers),
        max_seconds=parse_duration(max_time) if max_time else None,
        force=force,
    )
