"""The command `frazil compose`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from frazil.cli import options
from frazil.core.errors import SettingsError

if TYPE_CHECKING:
    from frazil.core.settings import SamplerName, Units

_sampler = partial(typer.Option, rich_help_panel="Sampler")
_SUGGESTED = "  [dim]\\[default: the bundle's][/dim]"


@options.takes_source
def compose_command(
    bundle: Annotated[
        Path,
        typer.Argument(
            help="Bundle that takes layouts, from [bold]frazil train[/bold] on whole tomograms, or its run folder.  "
            "[dim]\\[default: the bundled pretrained model][/dim]",
            show_default=False,
        ),
    ] = Path("pretrained"),
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the copick project.")],
    count: Annotated[
        int | None,
        typer.Option(
            "--count", "-n", help="Tomograms; may be raised later.  [dim]\\[default: 1, or all layouts][/dim]"
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(metavar="Z,Y,X", help="Size in voxels.  [dim]\\[default: that of the training tomograms][/dim]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Tomogram i depends only on layout, seed and i.")] = 0,
    orientations: Annotated[
        bool, typer.Option("--orientations/--no-orientations", help="Tell the network how particles are turned.")
    ] = True,
    mrc: Annotated[bool, typer.Option("--mrc", help="Also write each tomogram as mrc/denoised/RUN.mrc.")] = False,
    force: options.Force = False,
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="PROJECT",
            help="Put particles where this project has picks. Without it and --picks, places are drawn like those of the training "
            "tomograms.",
        ),
    ] = None,
    run: Annotated[list[str] | None, options.source_option(help="Only this run; repeatable.")] = None,
    selection: dict[str, Any],
    picks: Annotated[
        Path | None,
        typer.Option(help="Table of the places (CSV, STAR, .tbl, .em), alone or for MRC tomograms named by --like."),
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(metavar="UNIT", help="Coordinates in that table: voxel or angstrom, if it doesn't say so itself."),
    ] = None,
    sampler: Annotated[str | None, _sampler(help=f"ddpm, ddim, dpm++, sde-dpm++, or distilled.{_SUGGESTED}")] = None,
    steps: Annotated[int | None, _sampler(help=f"Steps of the sampler.{_SUGGESTED}")] = None,
    guidance: Annotated[
        float | None, _sampler(help=f"Exaggerate what the layout changes; 1 is off.{_SUGGESTED}")
    ] = None,
    guidance_interval: Annotated[
        str | None, _sampler(metavar="LOWEST,HIGHEST", help="Guide only these noise levels; at 1, noise equals signal.")
    ] = None,
    tilt_range: Annotated[
        str | None,
        _sampler(
            metavar="LOWEST,HIGHEST",
            help="Tilt range in degrees.  [dim]\\[default: that of --like, or of the training tomograms][/dim]",
        ),
    ] = None,
    contrast_of: Annotated[
        str | None,
        _sampler(
            metavar="RUN",
            help="Give all of them the contrast of this training tomogram.  [dim]\\[default: each that of another][/dim]",
        ),
    ] = None,
    device: Annotated[str, options.machine_option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    workers: options.Workers = 1,
    dask: options.Dask = None,
    first: options.First = None,
) -> None:
    """Compose whole tomograms in which every particle is labeled, as a copick project with masks and orientations.

    If it is interrupted, rerun the same command to resume, in the middle of a tomogram too.
    """
    from frazil.composition.run import compose
    from frazil.dataset.run import source_settings
    from frazil.io.like import LikeOptions

    alone = like is None
    if not alone:
        selection |= {"picks_file": str(picks) if picks else None, "units": units}
    if alone and (run or any(value not in (None, []) for value in selection.values())):
        raise SettingsError(
            "options that choose runs, picks or tomograms: only with --like; name the project with --like"
        )
    if guidance_interval is not None:
        lowest, highest = options.parse_numbers("--guidance-interval", guidance_interval, "LOWEST,HIGHEST", "0.3,5")
    compose(
        bundle,
        out=out,
        like=None if like is None else LikeOptions(like, source_settings(**selection), tuple(run or ())),
        picks=picks if alone else None,
        units=cast("Units | None", units) if alone else None,
        shape=None if shape is None else options.parse_shape("--shape", shape),
        count=count,
        first=first,
        seed=seed,
        orientations=orientations,
        tilt_range=None if tilt_range is None else options.parse_tilt_range(tilt_range),
        contrast_of=contrast_of,
        sampler=cast("SamplerName | None", sampler),
        steps=steps,
        guidance=guidance,
        guidance_interval=None if guidance_interval is None else (lowest, highest),
        mrc=mrc,
        device=device,
        workers=workers,
        dask=dask,
        force=force,
    )
