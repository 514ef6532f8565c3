"""The command `frazil sample`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.options import Force

_sampler = partial(typer.Option, rich_help_panel="Sampler")
_hardware = partial(typer.Option, rich_help_panel="Hardware")


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
        int | None, typer.Option("--count", "-n", help="Samples per label.  [dim]\\[default: 1][/dim]")
    ] = None,
    requests: Annotated[
        Path | None, typer.Option(help="CSV with columns label, x, y, z, count, instead of the three options above.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Sample i depends only on the seed and i.")] = 0,
    voxel_size: Annotated[
        float | None,
        typer.Option(metavar="A", help="Voxel size, only for a bundle that does not know it (imported weights)."),
    ] = None,
    copick: Annotated[bool, typer.Option("--copick/--no-copick", help="Also write a copick project.")] = True,
    force: Force = False,
    sampler: Annotated[
        str | None,
        _sampler(help="ddpm (the paper), ddim, dpm++, sde-dpm++ or unipc.  [dim]\\[default: the bundle's][/dim]"),
    ] = None,
    steps: Annotated[
        int | None, _sampler(help="Steps of the sampler.  [dim]\\[default: its usual number][/dim]")
    ] = None,
    guidance: Annotated[
        float | None,
        _sampler(help="Exaggerate what sets the class apart; 1 is off.  [dim]\\[default: the bundle's][/dim]"),
    ] = None,
    guidance_interval: Annotated[
        str | None,
        _sampler(metavar="LOWEST,HIGHEST", help="Guide only between these noise levels; at 1, noise equals signal."),
    ] = None,
    batch_size: Annotated[
        int | None, _hardware(help="Samples computed at once.  [dim]\\[default: suits the device][/dim]")
    ] = None,
    precision: Annotated[
        str | None,
        _hardware(
            help="32-true, bf16-mixed, or auto (times both and takes the faster).  [dim]\\[default: the bundle's][/dim]"
        ),
    ] = None,
    memory_format: Annotated[
        str | None, _hardware(help="contiguous, channels-last or auto.  [dim]\\[default: suits the precision][/dim]")
    ] = None,
    device: Annotated[str, _hardware(help="auto, cpu, cuda, or several: cuda:0,cuda:1.")] = "auto",
    devices: Annotated[int, _hardware(help="Processes per node, each with its own device.")] = 1,
    num_nodes: Annotated[int, _hardware(help="Nodes; SLURM and torchrun are detected.")] = 1,
) -> None:
    """Generate labeled particle volumes.

    If it is interrupted, rerun the same command to resume.
    """
    from frazil.sampling.request import SampleOptions, gather_requests, parse_interval
    from frazil.sampling.run import sample

    sample(
        bundle,
        out,
        gather_requests(label or [], position, count, requests),
        options=SampleOptions(
            seed=seed,
            sampler=sampler,
            steps=steps,
            guidance=guidance,
            guidance_interval=parse_interval(guidance_interval) if guidance_interval is not None else None,
            batch_size=batch_size,
            precision=precision,
            memory_format=memory_format,
            device=device,
            devices=devices,
            num_nodes=num_nodes,
            voxel_size_angstrom=voxel_size,
        ),
        copick=copick,
        force=force,
    )
