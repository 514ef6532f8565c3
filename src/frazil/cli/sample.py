"""The command `frazil sample`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from frazil.cli.options import Dask, Force, Workers, machine_option, parse_numbers

if TYPE_CHECKING:
    from frazil.core.settings import PrecisionChoice, SamplerName

_sampler = partial(typer.Option, rich_help_panel="Sampler")
_hardware = partial(typer.Option, rich_help_panel="Hardware")
_SUGGESTED = "  [dim]\\[default: the bundle's][/dim]"


def sample_command(
    bundle: Annotated[
        Path,
        typer.Argument(
            help="Bundle that [bold]frazil train[/bold] or import-weights wrote, or a run folder.  "
            "[dim]\\[default: the bundled pretrained model, trained on simulated tomograms][/dim]",
            show_default=False,
        ),
    ] = Path("pretrained"),
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for MRC volumes, manifest, copick project, STAR.")],
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="Particle class to sample, or all; repeatable.")
    ] = None,
    position: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,Z", help="Place in the tomogram, 0 to 1 of its extent.  [dim]\\[default: 0.5,0.5,0.5][/dim]"
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count", "-n", help="Samples per label; for one label, may be raised later.  [dim]\\[default: 1][/dim]"
        ),
    ] = None,
    requests: Annotated[
        Path | None, typer.Option(help="CSV with columns label, x, y, z, count, instead of the three options above.")
    ] = None,
    neighbours: Annotated[
        str,
        typer.Option(
            help="none; typical: also place and label what is around, with models of whole tomograms; or a table of picks around the "
            "particle."
        ),
    ] = "none",
    seed: Annotated[int, typer.Option(help="Sample i depends only on the seed and i.")] = 0,
    voxel_size: Annotated[
        float | None, typer.Option(metavar="A", help="Voxel size, only for imported weights that do not know it.")
    ] = None,
    copick: Annotated[bool, typer.Option("--copick/--no-copick", help="Also write a copick project.")] = True,
    force: Force = False,
    sampler: Annotated[
        str | None,
        _sampler(help=f"ddpm (the paper), ddim, dpm++, sde-dpm++, or distilled.{_SUGGESTED}"),
    ] = None,
    steps: Annotated[
        int | None, _sampler(help="Steps of the sampler.  [dim]\\[default: its usual number][/dim]")
    ] = None,
    guidance: Annotated[
        float | None, _sampler(help=f"Exaggerate what sets the class apart; 1 is off.{_SUGGESTED}")
    ] = None,
    guidance_interval: Annotated[
        str | None, _sampler(metavar="LOWEST,HIGHEST", help="Guide only these noise levels; at 1, noise equals signal.")
    ] = None,
    batch_size: Annotated[
        int | None, _hardware(help="Samples at once.  [dim]\\[default: suits the device][/dim]")
    ] = None,
    precision: Annotated[
        str | None, _hardware(help=f"32-true, bf16-mixed, or auto (bf16 if the device has it).{_SUGGESTED}")
    ] = None,
    device: Annotated[str, _hardware(help="auto, cpu, cuda or cuda:1.")] = "auto",
    workers: Workers = 1,
    dask: Dask = None,
    first: Annotated[
        int | None,
        machine_option(
            help="For a job array: only samples FIRST to FIRST + count - 1 of one label or of the table. The same command "
            "without it gathers the parts in OUT."
        ),
    ] = None,
) -> None:
    """Generate labeled particle volumes.

    If it is interrupted, rerun the same command to resume.
    """
    from frazil.sampling.run import sample

    if position is not None:
        x, y, z = parse_numbers("--position", position, "X,Y,Z", "0.5,0.5,0.5")
    if guidance_interval is not None:
        lowest, highest = parse_numbers("--guidance-interval", guidance_interval, "LOWEST,HIGHEST", "0.3,5")
    sample(
        bundle,
        out=out,
        label=label or (),
        position=None if position is None else (z, y, x),
        count=count,
        requests=requests,
        first=first,
        neighbours=neighbours,
        seed=seed,
        sampler=cast("SamplerName | None", sampler),
        steps=steps,
        guidance=guidance,
        guidance_interval=None if guidance_interval is None else (lowest, highest),
        batch_size=batch_size,
        precision=cast("PrecisionChoice | None", precision),
        device=device,
        workers=workers,
        dask=dask,
        voxel_size_angstrom=voxel_size,
        copick=copick,
        force=force,
    )
