"""The command `frazil evaluate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.options import Force, split_names

_generated = partial(typer.Option, rich_help_panel="Generated volumes")


def evaluate_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="[REAL] GENERATED",
            help="Box store with a split; then samples of frazil, a copick project of whole tomograms, a folder of MRC files with "
            "labels, or another box store. "
            "With --against-curves, REAL may be left out. "
            "With --compare: folders of finished evaluations.",
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for metrics.json and report.html.")] = None,
    against_curves: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also compare with real data of which only curves (JSON) or slices (NPZ, or a folder) are known.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the generator in comparisons.  [dim]\\[default: its folder][/dim]")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="STAGES",
            help="Only some of physics, memorisation, diversity, features, usefulness, curves; use commas.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Usefulness with one seed: a quarter of the time.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 0,
    threads: Annotated[int | None, typer.Option(help="CPU threads.  [dim]\\[default: all cores][/dim]")] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Also write the HTML report.")] = True,
    compare: Annotated[bool, typer.Option("--compare", help="Compare finished evaluations instead.")] = False,
    force: Force = False,
    labels: Annotated[
        str | None, _generated(metavar="NAMES", help="Names of the numbers in file names: 0=ribosome,1=thyroglobulin.")
    ] = None,
    voxel_size: Annotated[float | None, _generated(metavar="A", help="Voxel size, if their headers are wrong.")] = None,
    resample: Annotated[bool, _generated("--resample", help="Resample to the real voxels; crop larger boxes.")] = False,
    limit: Annotated[int | None, _generated(help="Use at most this many per class, drawn at random.")] = None,
) -> None:
    """Judge generated volumes: are they realistic, varied, new, of the right class, and useful?

    Every number is reported next to its real-data baseline. If it is interrupted, rerun the same command to resume.
    """
    from frazil.core.errors import RequestError

    if compare:
        from frazil.evaluation.compare import compare as compare_evaluations

        compare_evaluations(paths, out, force=force)
        return
    if out is None or len(paths) not in ((2,) if against_curves is None else (1, 2)):
        raise RequestError(
            "frazil evaluate takes REAL GENERATED --out DIR, GENERATED --against-curves FILE --out DIR, or --compare DIR DIR...; "
            "see --help"
        )
    from frazil.evaluation.run import evaluate
    from frazil.io.labelled_folder import parse_classes

    evaluate(
        paths[0] if len(paths) == 2 else None,
        paths[-1],
        out,
        against_curves=against_curves,
        only=split_names(only),
        seed=seed,
        name=name,
        labels=parse_classes(labels) if labels is not None else None,
        voxel_size_angstrom=voxel_size,
        limit=limit,
        resample=resample,
        quick=quick,
        threads=threads,
        report=report,
        force=force,
    )
