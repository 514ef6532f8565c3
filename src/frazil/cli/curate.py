"""The command `frazil curate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from frazil.cli import options

_boxes = partial(typer.Option, rich_help_panel="Boxes")
_split = partial(typer.Option, rich_help_panel="Training and validation")


@options.takes_source
def curate_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="copick project or its configuration, CZII folder, or MRC files with a CSV or STAR of picks."
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the box store.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the table; write nothing.")] = False,
    whole: Annotated[
        bool,
        typer.Option("--whole", help="Keep whole tomograms instead of boxes, for models that place every particle."),
    ] = False,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="NAME",
            help="With --whole: also keep this copick segmentation, of membranes for instance; repeatable.",
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="paper, fast, smoke, or a TOML file; options override it.")] = "fast",
    force: options.Force = False,
    *,
    selection: dict[str, Any],
    box: Annotated[int | None, _boxes(metavar="VOXELS", help="Edge; preset fast takes multiples of 16.")] = None,
    resample_to: Annotated[float | None, _boxes(metavar="A", help="Voxel size of the boxes.")] = None,
    max_padding: Annotated[float | None, _boxes(metavar="SHARE", help="Leave out boxes with more padding.")] = None,
    drop_outside: Annotated[bool, _boxes("--drop-outside", help="Leave out picks outside the tomogram.")] = False,
    run: Annotated[list[str] | None, _split(help="Take only this run; repeatable.")] = None,
    split: Annotated[str | None, _split(help="By tomogram, or by particle (the paper).")] = None,
    validation_run: Annotated[list[str] | None, _split(help="Use this run for validation; repeatable.")] = None,
    validation_fraction: Annotated[float | None, _split(metavar="SHARE", help="Share of runs, or boxes.")] = None,
    seed: Annotated[int | None, _split(help="Seed of the split.")] = None,
    first: options.First = None,
    count: Annotated[int | None, options.machine_option(help="Runs, from --first on.")] = None,
    workers: options.Workers = 1,
    dask: options.Dask = None,
) -> None:
    """Cut boxes around annotated particles, or keep whole tomograms, to train on.

    Prints how many particles were found, used and left out, and why. If it is interrupted, rerun the same command to resume.
    """
    from frazil.dataset.run import curate, source_settings

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
    curate(
        source,
        out,
        preset=preset,
        select=source_settings(**selection),
        runs=run or (),
        first=first,
        count=count,
        dry_run=dry_run,
        whole=whole,
        maps=map_ or (),
        workers=workers,
        dask=dask,
        force=force,
        **{key: value for key, value in chosen.items() if value is not None},
    )
