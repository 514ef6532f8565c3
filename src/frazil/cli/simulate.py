"""The command `frazil simulate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from frazil.cli import options
from frazil.core.errors import SettingsError

_output = partial(typer.Option, rich_help_panel="Output")
_specimen = partial(typer.Option, rich_help_panel="Specimen")
_microscope = partial(typer.Option, rich_help_panel="Microscope")


@options.takes_source
def simulate_command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the copick project.")],
    preset: Annotated[str, typer.Option(help="czii, small, or a TOML file; options override it.")] = "czii",
    count: Annotated[
        int | None, typer.Option(help="Tomograms; may be raised later.  [dim]\\[default: 1][/dim]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Tomogram i depends only on the seed, i and the settings.")] = 0,
    setting: options.Setting = None,
    force: options.Force = False,
    types: Annotated[str, _output(help="Tomogram types to write, of wbp, denoised, even, odd, clean.")] = "denoised",
    levels: Annotated[
        int | None, _output(help="Resolution levels of each OME-Zarr.  [dim]\\[default: 3, fewer if small][/dim]")
    ] = None,
    mrc: Annotated[
        bool, _output("--mrc", help="Also write MRC files, with picks, tilts and templates, in mrc/.")
    ] = False,
    shape: Annotated[str | None, _specimen(metavar="Z,Y,X", help="Size of a tomogram in voxels.")] = None,
    voxel_size: Annotated[float | None, _specimen(metavar="A", help="Edge of a voxel in angstrom.")] = None,
    particles_per_class: Annotated[
        str | None, _specimen(metavar="N", help="For all six classes, or e.g. ribosome=20,apo-ferritin=30.")
    ] = None,
    crowding: Annotated[
        float | None, _specimen(metavar="SHARE", help="Fill this share of the ice, at most 0.3, in these proportions.")
    ] = None,
    structure: Annotated[
        list[str] | None,
        _specimen(metavar="LABEL=FILE", help="Density map (MRC) or atomic model (mmCIF, PDB) of a class; repeatable."),
    ] = None,
    ice_thickness: Annotated[
        str | None, _specimen(metavar="A", help="In angstrom, or full: ice fills the tomogram.")
    ] = None,
    tilt_range: Annotated[str | None, _microscope(metavar="LOWEST,HIGHEST", help="In degrees.")] = None,
    tilt_step: Annotated[float | None, _microscope(help="Degrees between tilts.")] = None,
    dose: Annotated[float | None, _microscope(help="Of the whole series, in electrons per square angstrom.")] = None,
    defocus: Annotated[str | None, _microscope(metavar="LOWEST,HIGHEST", help="In micrometers, drawn evenly.")] = None,
    like: Annotated[
        Path | None,
        options.source_option(
            metavar="PROJECT", help="Simulate the picks of this project again; the options below choose among them."
        ),
    ] = None,
    run: Annotated[list[str] | None, options.source_option(help="Only this run; repeatable.")] = None,
    *,
    selection: dict[str, Any],
    workers: options.Workers = 1,
    dask: options.Dask = None,
    first: options.First = None,
) -> None:
    """Simulate annotated tomograms and write them as a copick project, with masks and orientations.

    If it is interrupted, rerun the same command to resume. A tomogram takes one core and, with the preset czii, 3 to 4 GB.
    """
    from frazil.dataset.run import source_settings
    from frazil.io.like import LikeOptions
    from frazil.simulation.run import simulate

    chosen: dict[str, Any] = {
        "specimen.shape_voxel": shape,
        "specimen.voxel_size_angstrom": voxel_size if like is None or shape else None,
        "specimen.particles_per_class": particles_per_class,
        "specimen.crowding": crowding,
        "specimen.ice_thickness_angstrom": ice_thickness,
        "microscope.tilts.range_degrees": tilt_range,
        "microscope.tilts.step_degrees": tilt_step,
        "microscope.tilts.dose_e_per_angstrom2": dose,
        "microscope.optics.defocus_um": defocus,
    }
    settings = {key: value for key, value in chosen.items() if value is not None}
    if like is None and (run or any(value not in (None, []) for value in selection.values())):
        raise SettingsError(
            "options that choose runs, picks or tomograms: only with --like; name the project with --like"
        )
    simulate(
        out,
        preset=preset,
        settings=settings | options.parse_settings(setting, example="microscope.optics.voltage_kv=200"),
        structures=options.parse_pairs("--structure", structure, "label=path", "proteasome=1pma.cif"),
        count=count,
        first=first,
        seed=seed,
        like=None if like is None else LikeOptions(like, source_settings(**selection), tuple(run or ()), voxel_size),
        types=[name.strip() for name in types.split(",")],
        levels=levels,
        mrc=mrc,
        workers=workers,
        dask=dask,
        force=force,
    )
