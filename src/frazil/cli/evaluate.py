"""The command `frazil evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.options import Force


def evaluate_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="REAL GENERATED",
            help="Box store with a split; then samples of frazil, a folder of MRC files with labels, or another box store. "
            "With --compare: folders of finished evaluations.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for metrics.json, samples.csv and report.html.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the generator, in comparisons.  [dim]\\[default: its folder][/dim]")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="STAGES",
            help="Some of physics, memorisation, diversity, features, usefulness, with commas between; the rest later.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    labels: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Of classes that file names number: 0=ribosome,1=thyroglobulin.")
    ] = None,
    voxel_size: Annotated[
        float | None, typer.Option(metavar="ANGSTROM", help="Of the generated volumes, if their headers are wrong.")
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring generated volumes to the real voxel size; crop the larger boxes.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Generated volumes of a class at most, drawn by the seed.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Usefulness in a quarter of the time: one seed, no intervals.")
    ] = False,
    threads: Annotated[int | None, typer.Option(help="Of the computation; else as many as there are cores.")] = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Also write the HTML file.")] = True,
    compare: Annotated[
        bool, typer.Option("--compare", help="Put finished evaluations side by side instead: evaluate --compare A B C.")
    ] = False,
    force: Force = False,
) -> None:
    """Judge generated volumes: realistic, varied, new, of the right class, useful?

    Every number stands beside what real volumes reach. Interrupted, the same command goes on.
    """
    from frazil.core.errors import RequestError

    if compare:
        from frazil.evaluation.compare import compare as compare_evaluations

        compare_evaluations(paths, out, force=force)
        return
    if len(paths) != 2 or out is None:
        raise RequestError("frazil evaluate takes REAL GENERATED --out DIR, or --compare DIR DIR...; see --help")
    from frazil.evaluation.inputs.judged import JudgedOptions
    from frazil.evaluation.run import EvaluateOptions, evaluate

    real, generated = paths
    evaluate(
        real,
        generated,
        out,
        options=EvaluateOptions(
            seed=seed,
            only=tuple(stage.strip() for stage in only.split(",")) if only else (),
            name=name,
            judged=JudgedOptions(labels=labels, voxel_size_angstrom=voxel_size, limit=limit),
            resample=resample,
            quick=quick,
            threads=threads,
            report=report,
            force=force,
        ),
    )
