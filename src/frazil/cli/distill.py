"""The command `frazil distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.options import Force, Setting, parse_duration, parse_settings


def distill_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle, or run folder, that teaches; or pretrained.")],
    store: Annotated[Path, typer.Argument(help="Store that [bold]frazil curate[/bold] wrote, as for training.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder: checkpoint, losses, bundle.")],
    steps: Annotated[int, typer.Option(help="Network evaluations that the student needs for a volume.")] = 4,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data; may be raised later.")] = None,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of Adam, constant.")] = 1e-4,
    seed: Annotated[int | None, typer.Option(help="Seed of shuffling and noise.")] = None,
    setting: Setting = None,
    force: Force = False,
    max_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop in time: minutes, HH:MM:SS or DD:HH:MM:SS.")
    ] = None,
) -> None:
    """Teach a copy of a model to make volumes in a few evaluations, as its teacher makes them in many.

    Data are noised as in training; the student learns to arrive in one step where its teacher arrives in four. If it is interrupted or runs
    out of time, rerun the same command to resume.
    """
    from frazil.training.run import distill

    chosen = {"epochs": epochs, "seed": seed, "learning_rate": learning_rate}
    overrides = {f"training.{key}": value for key, value in chosen.items() if value is not None}
    distill(
        bundle,
        store,
        out,
        steps=steps,
        settings=overrides | parse_settings(setting),
        max_seconds=parse_duration(max_time) if max_time else None,
        force=force,
    )
