"""The command `frazil calibrate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from frazil.cli import options

_search = partial(typer.Option, rich_help_panel="Search")


def calibrate_command(
    real: Annotated[Path, typer.Option(metavar="PROJECT", help="Annotated tomograms that frazil curate takes.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the preset, the report and its curves.")],
    preset: Annotated[str, typer.Option(help="Preset to start from: czii, small, or a TOML file.")] = "czii",
    name: Annotated[str, typer.Option(help="Name of the fitted preset, written as OUT/NAME.toml.")] = "calibrated",
    force: options.Force = False,
    run: Annotated[list[str] | None, options.source_option(help="Fit to this run; repeatable.")] = None,
    tomogram_type: options.TomogramType = None,
    voxel_spacing: options.VoxelSpacing = None,
    level: options.Level = None,
    voxel_size: options.TrueVoxelSize = None,
    user: options.User = None,
    session: options.Session = None,
    label: options.Label = None,
    picks: options.PicksFile = None,
    units: options.Units = None,
    fall: Annotated[
        float | None,
        _search(
            metavar="DEX", help="For coarse voxels: known drop of in-plane power from 0.1 to 0.45 cycles per 10 A."
        ),
    ] = None,
    evaluations: Annotated[int, _search(help="Simulations of each piece in the search.")] = 400,
    checks: Annotated[int, _search(help="Simulations of each piece with new seeds, after the fit.")] = 5,
    seed: Annotated[int, _search(help="Seed of the simulations.")] = 0,
) -> None:
    """Fit a simulation preset to real tomograms with picks: spectra, missing wedge, gray values.

    Simulates the picks in place and compares with what was measured there. If it is interrupted, rerun the same command to resume.
    """
    from frazil.dataset.run import source_settings
    from frazil.simulation.calibration.run import calibrate

    source = options.source(
        tomogram_type, voxel_spacing, level, voxel_size, user, session, label, picks=picks, units=units
    )
    calibrate(
        real,
        out,
        preset=preset,
        name=name,
        source_settings=source_settings(**source),
        runs=run or (),
        fine_fall_dex=fall,
        evaluations=evaluations,
        checks=checks,
        seed=seed,
        force=force,
    )
