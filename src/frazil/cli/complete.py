"""The command `frazil complete`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from frazil.cli import options


@options.takes_source
def complete_command(
    project: Annotated[Path, typer.Argument(help="Annotated tomograms, as for [bold]frazil curate[/bold].")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for found.csv.")],
    run: Annotated[list[str] | None, typer.Option(help="Complete this run; repeatable. All by default.")] = None,
    sure: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Keep what scores as much as the best SHARE of the annotated particles of its class; lower is stricter.",
        ),
    ] = 0.5,
    steps: Annotated[int, typer.Option(help="Training steps of a picker.")] = 400,
    seed: Annotated[int, typer.Option(help="Seed of the pickers.")] = 0,
    force: options.Force = False,
    *,
    selection: dict[str, Any],
) -> None:
    """Find particles that an incomplete pick list lacks, with a picker that learns from one half of each tomogram and picks the other.

    If it is interrupted, rerun the same command to resume.
    """
    from frazil.dataset.run import source_settings
    from frazil.proof.complete import complete

    complete(
        project,
        out,
        runs=run or (),
        source=source_settings(**selection),
        steps=steps,
        seed=seed,
        sure=sure,
        force=force,
    )
