"""The command `frazil filter`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.options import Force


def filter_command(
    generated: Annotated[Path, typer.Argument(help="Volumes that were evaluated.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for copies of what stays, and receipt.json.")],
    keep: Annotated[float, typer.Option(metavar="SHARE", help="Of each class, the share that stays.")] = 0.9,
    by: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="Column of samples.csv to drop by, larger is worse; else typicality."),
    ] = None,
    evaluation: Annotated[Path | None, typer.Option(help="Folder of frazil evaluate for these volumes.")] = None,
    real: Annotated[Path | None, typer.Option(help="Box store; else that of the evaluation.")] = None,
    only: Annotated[
        str | None, typer.Option(metavar="STAGES", help="To evaluate again on what stays; else all but usefulness.")
    ] = None,
    list_only: Annotated[bool, typer.Option("--list", help="Write the receipt and copy no volumes.")] = False,
    copick: Annotated[bool, typer.Option("--copick/--no-copick", help="Also write a copick project.")] = True,
    force: Force = False,
) -> None:
    """Keep the better generated volumes, and say what that does to every number. Nothing is deleted."""
    from frazil.evaluation.filter.run import FilterOptions, filter_samples

    filter_samples(
        generated,
        out,
        evaluation=evaluation,
        real=real,
        options=FilterOptions(
            keep=keep,
            by=by,
            only=tuple(stage.strip() for stage in only.split(",")) if only else (),
            list_only=list_only,
            copick=copick,
            force=force,
        ),
    )
