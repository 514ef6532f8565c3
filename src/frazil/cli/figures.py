"""The command `frazil figures`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.options import Force


def figures_command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the figures, each as PNG and PDF.")],
    store: Annotated[Path | None, typer.Option(help="Box store, for real examples of every class.")] = None,
    samples: Annotated[Path | None, typer.Option(help="Folder that [bold]frazil sample[/bold] wrote.")] = None,
    run: Annotated[Path | None, typer.Option(help="Folder that [bold]frazil train[/bold] wrote, for losses.")] = None,
    examples: Annotated[int, typer.Option(help="Real examples and samples per class, at most.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the choice of real examples.")] = 0,
    force: Force = False,
) -> None:
    """Draw the paper's figures: loss curves, and slices of real examples and samples of every class."""
    from frazil.evaluation.figures import figures

    figures(out, store=store, samples=samples, run=run, examples=examples, seed=seed, force=force)
