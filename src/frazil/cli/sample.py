"""The command `frazil sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.options import Force


def sample_command(
    bundle: Annotated[
        Path,
        typer.Argument(
            help="Bundle that [bold]frazil train[/bold] or import-weights wrote, or the run folder; else the model that frazil "
            "brings along, which learnt from simulated tomograms.",
            show_default=False,
        ),
    ] = Path("pretrained"),
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for MRC volumes, manifest, copick project, STAR.")],
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="Class to sample; repeat it for several, or say all.")
    ] = None,
    position: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,Z", help="Place in the tomogram, 0 to 1 of its extent.  [dim]\\[default: 0.5,0.5,0.5][/dim]"
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", help="Samples of each label.  [dim]\\[default: 1][/dim]")
    ] = None,
    requests: Annotated[
        Path | None, typer.Option(help="CSV with the columns label, x, y, z, count, instead of the three above.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Sample i depends on the seed and i alone.")] = 0,
    sampler: Annotated[
        str | None, typer.Option(help="ddpm (the paper), ddim, dpm++, sde-dpm++ or unipc; else the bundle's.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Of the sampler; else its usual number.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Exaggerates what sets the class apart; 1 is none; else the bundle's.")
    ] = None,
    guidance_interval: Annotated[
        str | None, typer.Option(metavar="LOWEST,HIGHEST", help="Noise levels that are guided; 1 is noise as signal.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples computed at once; else what suits the device.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="32-true, bf16-mixed, or auto: the faster one here; else the bundle's.")
    ] = None,
    memory_format: Annotated[
        str | None, typer.Option(help="contiguous, channels-last or auto; else what suits the precision.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or several: cuda:0,cuda:1.")] = "auto",
    devices: Annotated[int, typer.Option(help="Processes on each node, each with a device of its own.")] = 1,
    num_nodes: Annotated[int, typer.Option(help="Nodes; SLURM and torchrun are detected.")] = 1,
    voxel_size: Annotated[
        float | None,
        typer.Option(metavar="ANGSTROM", help="Only for a bundle that does not know it (imported weights)."),
    ] = None,
    copick: Annotated[bool, typer.Option("--copick/--no-copick", help="Also write a copick project.")] = True,
    force: Force = False,
) -> None:
    """Generate labelled particle volumes with a bundle.

    Interrupted, the same command goes on where it stood.
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
