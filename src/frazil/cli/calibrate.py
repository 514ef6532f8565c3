"""The command `frazil calibrate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from frazil.cli import options

_search = partial(typer.Option, rich_help_panel="Search")


@options.takes_source
def calibrate_command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the preset, the report and its curves.")],
    real: Annotated[
        Path | None, typer.Option(metavar="PROJECT", help="Annotated tomograms that frazil curate takes.")
    ] = None,
    slices: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Curves (JSON), or central slices (NPZ), of real subtomograms; or volumes. Repeatable."
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="Preset to start from: czii, small, or a TOML file.")] = "czii",
    name: Annotated[str, typer.Option(help="Name of the fitted preset, written as OUT/NAME.toml.")] = "calibrated",
    force: options.Force = False,
    run: Annotated[list[str] | None, typer.Option(help="Fit to this run; repeatable.")] = None,
    *,
    selection: dict[str, Any],
    evaluations: Annotated[int, _search(help="Simulations in the search.")] = 200,
    checks: Annotated[int, _search(help="Simulations with new seeds, after the fit.")] = 5,
    seed: Annotated[int, _search(help="Seed of the simulations.")] = 0,
) -> None:
    """Fit a simulation preset to real data: spectra, missing wedge, gray values, profiles of particles.

    Picks of tomograms are simulated in place; for slices, specimens of the preset are.
    If it is interrupted, rerun the same command to resume.
    """
    from frazil.dataset.run import source_settings
    from frazil.simulation.calibration.run import calibrate

    calibrate(
        real,
        out,
        slices=slices or (),
        preset=preset,
        name=name,
        source_settings=source_settings(**selection),
        runs=run or (),
        evaluations=evaluations,
        checks=checks,
        seed=seed,
        force=force,
    )
