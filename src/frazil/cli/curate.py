"""The command `frazil curate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.options import Force, Label, Level, PicksFile, Session, TomogramType, TrueVoxelSize, User, VoxelSpacing


def curate_command(
    source: Annotated[
        Path,
        typer.Argument(help="A copick project or its configuration, a CZII folder, or MRC files with a CSV or STAR."),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the box store.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the table from the picks alone.")] = False,
    preset: Annotated[str, typer.Option(help="paper, fast, smoke, or a TOML file; options go first.")] = "fast",
    tomogram_type: TomogramType = None,
    voxel_spacing: VoxelSpacing = None,
    level: Level = None,
    voxel_size: TrueVoxelSize = None,
    user: User = None,
    session: Session = None,
    label: Label = None,
    picks: PicksFile = None,
    tilt_range: Annotated[str | None, typer.Option(help="Lowest and highest tilt in degrees, e.g. -45,45.")] = None,
    box: Annotated[int | None, typer.Option(help="Edge of a box in voxels; preset fast takes multiples of 16.")] = None,
    resample_to: Annotated[float | None, typer.Option(help="Voxel size of the boxes, angstrom.")] = None,
    max_padding: Annotated[float | None, typer.Option(help="Leave out boxes with a larger share of padding.")] = None,
    drop_outside: Annotated[bool, typer.Option("--drop-outside", help="Leave out picks outside the tomogram.")] = False,
    split: Annotated[str | None, typer.Option(help="By tomogram, or by particle (the paper).")] = None,
    validation_run: Annotated[list[str] | None, typer.Option(help="This run validates; may be repeated.")] = None,
    validation_fraction: Annotated[float | None, typer.Option(help="Share of runs or boxes that validate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the split.")] = None,
    force: Force = False,
) -> None:
    """Cut boxes around annotated particles into a box store.

    Interrupted, the same command continues. Prints how many particles were found, used and left out, and why.
    """
    from frazil.core.presets import load_preset
    from frazil.dataset.run import curate, parse_tilt_range, source_settings

    chosen = {
        "box_size_voxel": box,
        "voxel_size_angstrom": resample_to,
        "max_padding": max_padding,
        "drop_outside": drop_outside or None,
        "split_by": split,
        "validation_runs": validation_run or None,
        "validation_fraction": validation_fraction,
        "seed": seed,
    }
    overrides = {f"curate.{key}": value for key, value in chosen.items() if value is not None}
    curate(
        source,
        out,
        source_settings(
            tomogram_type=tomogram_type,
            voxel_spacing_angstrom=voxel_spacing,
            level=level,
            voxel_size_angstrom=voxel_size,
            users=user,
            sessions=session,
            labels=label,
            picks_file=str(picks) if picks else None,
            tilt_range_degrees=parse_tilt_range(tilt_range) if tilt_range else None,
        ),
        load_preset(preset, overrides).curate,
        dry_run=dry_run,
        force=force,
    )
