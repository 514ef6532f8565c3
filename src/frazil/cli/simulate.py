"""The command `frazil simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from frazil.cli.options import (
    Dask,
    First,
    Force,
    Label,
    Level,
    PicksFile,
    Session,
    Setting,
    TomogramType,
    TrueVoxelSize,
    User,
    VoxelSpacing,
    Workers,
    parse_settings,
)
from frazil.core.errors import SettingsError


def simulate_command(
    out: Annotated[Path, typer.Argument(help="Folder for the copick project.")],
    preset: Annotated[str, typer.Option(help="czii, small, or a TOML file; options override it.")] = "czii",
    count: Annotated[
        int | None, typer.Option(help="Number of tomograms; may be raised later.  [dim]\\[default: 1][/dim]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Tomogram i depends on the seed, i and the settings alone.")] = 0,
    shape: Annotated[str | None, typer.Option(metavar="Z,Y,X", help="Voxels of a tomogram.")] = None,
    voxel_size: Annotated[float | None, typer.Option(metavar="A", help="Edge of a voxel in angstrom.")] = None,
    particles_per_class: Annotated[
        str | None, typer.Option(metavar="N", help="Of all six particles, or e.g. ribosome=20,apo-ferritin=30.")
    ] = None,
    concentrations: Annotated[
        str | None, typer.Option(metavar="N", help="The same in particles per cubic micrometer of ice.")
    ] = None,
    crowding: Annotated[
        float | None, typer.Option(help="Share of the ice that particles fill, at most 0.3, in these proportions.")
    ] = None,
    structure: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=FILE", help="Density map (MRC) or atoms (mmCIF, PDB) of a class; repeatable."),
    ] = None,
    ice_thickness: Annotated[str | None, typer.Option(metavar="A", help="Or full: ice fills the tomogram.")] = None,
    tilt_range: Annotated[str | None, typer.Option(metavar="LOWEST,HIGHEST", help="Degrees.")] = None,
    tilt_step: Annotated[float | None, typer.Option(help="Degrees between tilts.")] = None,
    dose: Annotated[float | None, typer.Option(help="Of the whole tilt series, electrons per square angstrom.")] = None,
    defocus: Annotated[
        str | None, typer.Option(metavar="LOWEST,HIGHEST", help="Micrometers; each tomogram draws its own.")
    ] = None,
    setting: Setting = None,
    like: Annotated[
        Path | None, typer.Option(metavar="PROJECT", help="Simulate the picks of this project again, run by run.")
    ] = None,
    run: Annotated[list[str] | None, typer.Option(help="With --like: only this run; repeatable.")] = None,
    user: User = None,
    session: Session = None,
    label: Label = None,
    picks: PicksFile = None,
    tomogram_type: TomogramType = None,
    voxel_spacing: VoxelSpacing = None,
    level: Level = None,
    true_voxel_size: TrueVoxelSize = None,
    types: Annotated[str, typer.Option(help="Tomogram types to write.")] = "wbp,denoised,clean",
    levels: Annotated[
        int | None, typer.Option(help="Resolutions of each OME-Zarr.  [dim]\\[default: 3, fewer if small][/dim]")
    ] = None,
    mrc: Annotated[bool, typer.Option("--mrc", help="Also write each tomogram as mrc/TYPE/RUN.mrc.")] = False,
    workers: Workers = 1,
    dask: Dask = None,
    first: First = None,
    force: Force = False,
) -> None:
    """Simulate annotated tomograms and write them as a copick project, with masks and orientations.

    If it is interrupted, rerun the same command to resume. A tomogram takes one core and, with the preset czii, 3.2 GB.
    """
    from frazil.dataset.run import source_settings
    from frazil.simulation.like import LikeOptions
    from frazil.simulation.run import simulate

    options: dict[str, Any] = {
        "specimen.shape_voxel": shape,
        "specimen.voxel_size_angstrom": voxel_size if like is None or shape else None,
        "specimen.particles_per_class": particles_per_class,
        "specimen.concentrations": concentrations,
        "specimen.crowding": crowding,
        "specimen.ice_thickness_angstrom": ice_thickness,
        "microscope.tilts.range_degrees": tilt_range,
        "microscope.tilts.step_degrees": tilt_step,
        "microscope.tilts.dose_e_per_angstrom2": dose,
        "microscope.optics.defocus_um": defocus,
    }
    settings = {key: value for key, value in options.items() if value is not None}
    source = {
        "users": user,
        "sessions": session,
        "labels": label,
        "picks_file": str(picks) if picks else None,
        "tomogram_type": tomogram_type,
        "voxel_spacing_angstrom": voxel_spacing,
        "level": level,
        "voxel_size_angstrom": true_voxel_size,
    }
    if like is None and (run or any(value not in (None, []) for value in source.values())):
        raise SettingsError(
            "options that choose runs, picks or tomograms: only with --like; name the project with --like"
        )
    simulate(
        out,
        preset=preset,
        settings=settings | parse_settings(setting or [], example="microscope.optics.voltage_kv=200"),
        structures=dict(map(_labelled_path, structure or [])),
        count=count,
        first=first,
        seed=seed,
        like=None if like is None else LikeOptions(like, source_settings(**source), tuple(run or ()), voxel_size),
        types=[name.strip() for name in types.split(",")],
        levels=levels,
        mrc=mrc,
        workers=workers,
        dask=dask,
        force=force,
    )


def _labelled_path(text: str) -> tuple[str, str]:
    label, equals, path = text.partition("=")
    if not equals or not label.strip() or not path.strip():
        raise SettingsError(f"--structure {text}: not of the form label=path, e.g. --structure proteasome=1pma.cif")
    return label.strip(), path.strip()
