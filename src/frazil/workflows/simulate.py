"""`frazil simulate`: settings and a seed in; a copick project of simulated tomograms and their exact picks out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from frazil.errors import OutputError, SettingsError, SimulationError
from frazil.io.copick import CONFIG_NAME, write_picks, write_project_config, write_tomogram
from frazil.io.files import make_folder, output_errors, read_json, write_json
from frazil.records import Picks
from frazil.seeds import numpy_generator
from frazil.settings import Settings
from frazil.simulation.microscope import MicroscopeSettings, image_specimen
from frazil.simulation.specimen import SpecimenSettings, place_particles, specimen_density
from frazil.simulation.structures import find_models
from frazil.version import __version__
from frazil.workflows.console import progress_bar, say

SCHEMA_VERSION = 1
MANIFEST = "simulation.json"
USER = "simulated"
_RUNS_FOLDER = "ExperimentRuns"

AnySettings = TypeVar("AnySettings", bound=Settings)


def read_settings(kind: type[AnySettings], options: Mapping[str, Any]) -> AnySettings:
    """Turn options, as text or as values, into settings.

    Raises
    ------
    SettingsError : a value of the wrong kind.
    SimulationError : a value that cannot be simulated.
    """
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = str(fault["loc"][0]) if fault["loc"] else "settings"
        what = "too few numbers" if fault["type"] == "missing" else fault["msg"]
        raise SettingsError(f"{name} {options.get(name)!r}: {what}; see frazil simulate --help") from None


def simulate(
    out: Path,
    *,
    count: int,
    seed: int = 0,
    specimen: SpecimenSettings | None = None,
    microscope: MicroscopeSettings | None = None,
    clean: bool = False,
    force: bool = False,
) -> None:
    """Write a copick project of `count` simulated tomograms, or go on where an earlier call was interrupted.

    Tomogram i depends on (seed, i) and the settings alone, so a larger `count` adds to what is there.

    Parameters
    ----------
    out : folder of the project.
    clean : also write the density of the particles alone (type ``clean``: dark, without ice, noise and wedge).
    force : replace what an earlier call with other settings left in `out`.

    Raises
    ------
    OutputError : `out` holds something else, or cannot be written.
    SimulationError : no tomograms asked for, or the particles do not fit into the ice.
    """
    if count < 1:
        raise SimulationError(f"count {count}: no tomograms to simulate; ask for at least 1")
    specimen = specimen or SpecimenSettings()
    microscope = microscope or MicroscopeSettings()
    parameters = {
        "seed": seed,
        "clean": clean,
        "specimen": specimen.model_dump(mode="json"),
        "microscope": microscope.model_dump(mode="json"),
    }
    finished = _begin(out, parameters, specimen, force=force)
    names = [run_name(index) for index in range(count)]
    if all(name in finished for name in names):
        say(f"{out}: all simulated tomograms are there already ({len(finished)}); nothing to do")
        return
    with progress_bar() as bar:
        for index, name in enumerate(bar.track(names, description="simulate")):
            if name not in finished:
                _simulate_run(out, index, seed, specimen, microscope, clean=clean)
                finished.append(name)
                _write_manifest(out, parameters, finished)
    particles = sum(specimen.particles_per_class.values())
    say(f"{out}: simulated tomograms: {len(finished)}, particles in each: {particles}; copick opens {CONFIG_NAME}")


def run_name(index: int) -> str:
    """Return the copick run of tomogram `index`."""
    return f"SIM_{index:03d}"


def _simulate_run(
    out: Path, index: int, seed: int, specimen: SpecimenSettings, microscope: MicroscopeSettings, *, clean: bool
) -> None:
    """Write the picks and the tomogram of one run."""
    run = run_name(index)
    folder = out / _RUNS_FOLDER / run
    with output_errors(folder):
        if folder.exists():  # left by a call that was killed
            shutil.rmtree(folder)
    generator = numpy_generator(seed, "tomogram", index)
    voxel_size_angstrom = specimen.voxel_size_angstrom
    placed = place_particles(specimen, generator)
    density = specimen_density(placed, specimen.shape_voxel, voxel_size_angstrom)
    volumes = {"denoised": image_specimen(density, voxel_size_angstrom, microscope, generator)}
    if clean:
        volumes["clean"] = -density
    for particles in placed:
        picks = Picks(run, particles.model.label, particles.centers_angstrom, particles.rotations)
        write_picks(out, picks, user=USER)
    for tomogram_type, volume in volumes.items():
        write_tomogram(
            out,
            run=run,
            volume=volume,
            voxel_size_angstrom=voxel_size_angstrom,
            tomogram_type=tomogram_type,
            tilt_range_degrees=microscope.tilt_range_degrees if tomogram_type == "denoised" else None,
            simulated=True,
        )


def _begin(out: Path, parameters: dict[str, Any], specimen: SpecimenSettings, *, force: bool) -> list[str]:
    """Make `out` a project of these parameters, and return the runs that are finished."""
    there, runs = _read_manifest(out, force=force)
    if there == parameters and (out / CONFIG_NAME).exists():
        return [name for name in runs if (out / _RUNS_FOLDER / name).is_dir()]
    if runs and not force:
        raise OutputError(f"{out}: holds tomograms with {_difference(there, parameters)}; pass --force to replace them")
    make_folder(out)
    # A manifest without parameters first: killed while the old runs are removed, the next call begins anew as well.
    _write_manifest(out, {}, [])
    with output_errors(out):
        if (out / _RUNS_FOLDER).exists():
            shutil.rmtree(out / _RUNS_FOLDER)
    radii = {label: model.radius_angstrom for label, model in find_models(specimen.particles_per_class).items()}
    write_project_config(out, name=out.resolve().name, labels_radius_angstrom=radii)
    _write_manifest(out, parameters, [])
    return []


def _read_manifest(out: Path, *, force: bool) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters and the finished runs of a project; neither where there is no project yet.

    Raises
    ------
    OutputError : `out` is no project of ours, or of a newer frazil, or its manifest is damaged.
    """
    path = out / MANIFEST
    with output_errors(out):
        if not path.exists():
            if out.exists() and (not out.is_dir() or any(out.iterdir())):
                raise OutputError(f"{out}: holds something that frazil simulate did not write; choose a new folder")
            return {}, []
    try:
        content = read_json(path, OutputError)
        version, there, runs = (
            content["schema_version"],
            dict(content["parameters"]),
            [str(run) for run in content["runs"]],
        )
    except (OutputError, KeyError, TypeError, ValueError):
        if force:
            return {}, []
        raise OutputError(f"{path}: damaged; pass --force to simulate anew, or choose a new folder") from None
    if version > SCHEMA_VERSION:
        raise OutputError(f"{path}: written by a newer frazil; upgrade frazil, or choose a new folder")
    return there, runs


def _write_manifest(out: Path, parameters: dict[str, Any], runs: list[str]) -> None:
    content = {
        "schema_version": SCHEMA_VERSION,
        "frazil_version": __version__,
        "simulated": True,
        "axis_order": "zyx",
        "parameters": parameters,
        "runs": runs,
    }
    write_json(out / MANIFEST, content)


def _difference(there: dict[str, Any], parameters: dict[str, Any]) -> str:
    """Name the parameters of an existing project that differ, with its values."""
    pairs = []
    for name, value in parameters.items():
        old = there.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            pairs += [f"{key} {old.get(key)}" for key in value if old.get(key) != value[key]]
        elif old != value:
            pairs.append(f"{name} {old}")
    return ", ".join(pairs) or "other settings"
