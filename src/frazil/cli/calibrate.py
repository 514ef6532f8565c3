"""The command `frazil calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.options import Force, Label, Level, PicksFile, Session, TomogramType, TrueVoxelSize, User, VoxelSpacing


def calibrate_command(
    out: Annotated[Path, typer.Argument(help="Folder for the preset, the report and its curves.")],
    real: Annotated[Path, typer.Option(metavar="PROJECT", help="Annotated tomograms, as frazil curate takes them.")],
    preset: Annotated[str, typer.Option(help="Where the fit starts: czii, small, or a TOML file.")] = "czii",
    name: Annotated[str, typer.Option(help="Of the fitted preset, written as OUT/NAME.toml.")] = "calibrated",
    run: Annotated[list[str] | None, typer.Option(help="Fit to this run; may be repeated.")] = None,
    fall: Annotated[
        float | None,
        typer.Option(
            metavar="DEX",
            help="If only coarse voxels are there: known fall of in-plane power, 0.1 to 0.45 cycles per 10 A.",
        ),
    ] = None,
    evaluations: Annotated[int, typer.Option(help="Simulations that the search may make, of each piece.")] = 400,
    replicates: Annotated[int, typer.Option(help="Simulations of a piece that are averaged in the search.")] = 1,
    checks: Annotated[int, typer.Option(help="Simulations of each piece with fresh seeds, after the fit.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the simulations.")] = 0,
    tomogram_type: TomogramType = None,
    voxel_spacing: VoxelSpacing = None,
    level: Level = None,
    voxel_size: TrueVoxelSize = None,
    user: User = None,
    session: Session = None,
    label: Label = None,
    picks: PicksFile = None,
    force: Force = False,
) -> None:
    """Fit a simulation preset to real tomograms with picks: spectra, missing wedge, grey values.

    Simulates the picks at their places and compares with what was measured there. Interrupted, the same command goes on.
    """
    from frazil.dataset.run import source_settings
    from frazil.simulation.calibration.run import calibrate

    calibrate(
        real,
        out,
        preset=preset,
        name=name,
        source_settings=source_settings(
            tomogram_type=tomogram_type,
            voxel_spacing_angstrom=voxel_spacing,
            level=level,
            voxel_size_angstrom=voxel_size,
            users=user,
            sessions=session,
            labels=label,
            picks_file=str(picks) if picks else None,
        ),
        runs=run or (),
        fine_fall_dex=fall,
        evaluations=evaluations,
        replicates=replicates,
        checks=checks,
        seed=seed,
        force=force,
    )
