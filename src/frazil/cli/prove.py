"""The command `frazil prove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from frazil.cli import options
from frazil.core.errors import SettingsError


@options.takes_source
def prove_command(
    project: Annotated[Path, typer.Argument(help="Annotated tomograms, as for [bold]frazil curate[/bold].")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for proof.json and report.html.")],
    train: Annotated[list[str], typer.Option(metavar="RUN", help="Train on this run; repeatable.")],
    test: Annotated[list[str] | None, typer.Option(metavar="RUN", help="Test on this run; repeatable.")] = None,
    pick: Annotated[
        list[str] | None, typer.Option(metavar="RUN", help="Pick this run too, which nobody labeled; repeatable.")
    ] = None,
    projects: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="PROJECT",
            help="Mix in the tomograms of this project, from [bold]frazil compose[/bold] or [bold]frazil simulate[/bold]; repeatable.",
        ),
    ] = None,
    arm: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this arm, such as augmented; repeatable.")
    ] = None,
    mixture: Annotated[
        list[int] | None,
        typer.Option(
            metavar="RATIO", help="Made windows for an annotated one; repeatable.  [dim]\\[default: 1, 2, 4][/dim]"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Pickers of each arm; may be raised later.")] = 5,
    steps: Annotated[int, typer.Option(help="Training steps of a picker.")] = 800,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=WEIGHT",
            help="Weight in the score; repeatable.  [dim]\\[default: the challenge's, else 1][/dim]",
        ),
    ] = None,
    force: options.Force = False,
    *,
    selection: dict[str, Any],
    workers: options.Workers = 1,
    dask: options.Dask = None,
) -> None:
    """Prove that pickers gain from generated tomograms, or that they do not: the same picker, trained on several kinds of data.

    If it is interrupted, rerun the same command to resume; further seeds, arms and projects add to what is there.
    """
    from frazil.dataset.run import source_settings
    from frazil.proof.run import prove

    weights = {}
    for name, text in options.parse_pairs("--weight", weight, "CLASS=WEIGHT", "ribosome=2").items():
        try:
            weights[name] = float(text)
        except ValueError:
            raise SettingsError(f"--weight {name}={text}: not a number; use e.g. --weight {name}=2") from None
    prove(
        project,
        train=train,
        test=test or (),
        pick=pick or (),
        out=out,
        projects=projects or (),
        source=source_settings(**selection),
        arms=arm or (),
        mixtures=mixture or (1, 2, 4),
        seeds=seeds,
        steps=steps,
        weights=weights,
        workers=workers,
        dask=dask,
        force=force,
    )
