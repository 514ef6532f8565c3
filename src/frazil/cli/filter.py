"""The command `frazil filter`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.options import Force, split_names


def filter_command(
    generated: Annotated[Path, typer.Argument(help="Volumes that were evaluated.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for copies of the kept volumes, and receipt.json.")],
    keep: Annotated[float, typer.Option(metavar="SHARE", help="Share of each class to keep.")] = 0.9,
    by: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of samples.csv to rank by.  [dim]\\[default: typicality][/dim]"),
    ] = None,
    evaluation: Annotated[Path | None, typer.Option(help="Folder of frazil evaluate for these volumes.")] = None,
    real: Annotated[
        Path | None, typer.Option(help="Box store of real volumes.  [dim]\\[default: the evaluation's][/dim]")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="STAGES", help="Stages to evaluate again.  [dim]\\[default: all but usefulness][/dim]"),
    ] = None,
    list_only: Annotated[bool, typer.Option("--list", help="Write only the receipt; copy no volumes.")] = False,
    copick: Annotated[bool, typer.Option("--copick/--no-copick", help="Also write a copick project.")] = True,
    force: Force = False,
) -> None:
    """Keep the better generated volumes, and report how every number changes. Nothing is deleted."""
    from frazil.evaluation.filter import filter_samples

    filter_samples(
        generated,
        out,
        evaluation=evaluation,
        real=real,
        keep=keep,
        by=by,
        only=split_names(only),
        list_only=list_only,
        copick=copick,
        force=force,
    )
