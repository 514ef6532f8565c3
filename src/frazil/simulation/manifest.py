"""`simulation.json`: reading it, what it says of a tomogram, and how its parameters differ from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frazil.core.errors import OutputError
from frazil.core.files import output_errors, read_json
from frazil.core.version import __version__
from frazil.simulation.structures.library import Structure
from frazil.simulation.tomogram import SimulatedTomogram

SCHEMA_VERSION = 2
MANIFEST = "simulation.json"

_MOST_NAMED = 4  # differences in one message
_DIGEST_LETTERS = 19  # "sha256:" and twelve more tell two files apart


def read_manifest(out: Path, *, force: bool) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the parameters and the records of the finished runs of a project; neither where there is none yet.

    Raises
    ------
    OutputError : `out` is no project of ours, or of a newer frazil, or its manifest is damaged.
    """
    path = out / MANIFEST
    with output_errors(out):
        if not path.exists():
            if out.exists() and (not out.is_dir() or any(entry.name != ".lock" for entry in out.iterdir())):
                raise OutputError(f"{out}: holds something that frazil simulate did not write; choose a new folder")
            return {}, {}
    try:
        content = read_json(path, OutputError)
        version, there = content["schema_version"], dict(content["parameters"])
        runs = content["runs"] if version < SCHEMA_VERSION else dict(content["runs"])
    except (OutputError, KeyError, TypeError, ValueError):
        if force:
            return {}, {}
        raise OutputError(f"{path}: damaged; pass --force to simulate anew, or choose a new folder") from None
    if version > SCHEMA_VERSION:
        raise OutputError(f"{path}: written by a newer frazil; upgrade frazil, or choose a new folder")
    if version < SCHEMA_VERSION:  # another simulator: its parameters mean something else
        return {"simulator": f"that of schema {version}"}, {str(run): {} for run in runs}
    return there, runs


def describe_tomogram(tomogram: SimulatedTomogram) -> dict[str, Any]:
    """Return what chance gave to a tomogram. Of annotated particles only the numbers: their picks tell the rest."""
    specimen, series = tomogram.specimen, tomogram.series
    return {
        "frazil_version": __version__,
        "shape_voxel": list(specimen.density.shape),
        "voxel_size_angstrom": specimen.voxel_size_angstrom,
        "particles": {particles.structure.label: len(particles) for particles in specimen.placed},
        "distractors": {
            particles.structure.label: {
                "count": len(particles),
                "centers_angstrom": _numbers(particles.centers_angstrom),
                "rotations": _numbers(particles.rotations),
            }
            for particles in specimen.distractors
        },
        "crowding": specimen.crowding,
        "grey_factor": tomogram.grey_factor,
        "tilt_series": {
            "angles_degrees": _numbers(series.angles_degrees),
            "true_angles_degrees": _numbers(series.true_angles_degrees),
            "dose_before_e_per_angstrom2": _numbers(series.dose_before_e_per_angstrom2),
            "dose_e_per_angstrom2": series.dose_e_per_angstrom2,
            "shifts_angstrom": _numbers(series.shifts_angstrom),
            "defocus_um": _numbers(tomogram.defocus_um),
        },
    }


def describe_structures(structures: Mapping[str, Structure]) -> dict[str, dict[str, Any]]:
    """Return what users of picks need to know of each structure; distractors too."""
    return {
        label: {
            "radius_angstrom": float(structure.radius_angstrom),
            "mass_kda": float(structure.mass_kda),
            "center_offset_angstrom": _numbers(structure.center_offset_angstrom),
        }
        for label, structure in sorted(structures.items())
    }


def difference(there: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """Name the parameters of an existing project that differ, with the values that are there and the new ones."""
    if "simulator" in there:
        return "an older simulator"
    old, new = _flat(there), _flat(parameters)
    differing = [key for key in {**new, **old} if old.get(key) != new.get(key)]
    named = [f"{key} {_short(old.get(key))} -> {_short(new.get(key))}" for key in differing[:_MOST_NAMED]]
    if len(differing) > _MOST_NAMED:
        named.append(f"and {len(differing) - _MOST_NAMED} more")
    return f"other settings ({', '.join(named)})" if named else "other settings"


def _flat(content: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the values of nested tables by their dotted keys; tables in a list go by their labels."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Sequence) and value and all(isinstance(entry, Mapping) for entry in value):
            value = {str(entry.get("label", number)): entry for number, entry in enumerate(value)}
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[above + key] = value
    return flat


def _short(value: Any) -> str:
    """Write a value as it is typed on a command line."""
    if value is None or value in ([], ()):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, (list, tuple)):
        return ",".join(_short(entry) for entry in value)
    text = str(value)
    return text[:_DIGEST_LETTERS] if text.startswith("sha256:") else text


def _numbers(values: Any) -> list[Any]:
    rounded: list[Any] = np.round(np.asarray(values, dtype=np.float64), 6).tolist()
    return rounded
