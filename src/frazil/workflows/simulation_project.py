"""The folder that `frazil simulate` writes: a copick project, MRC copies on request, and `simulation.json`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frazil.errors import FrazilError, OutputError
from frazil.io.copick import CONFIG_NAME, write_picks, write_project_config, write_segmentation, write_tomogram
from frazil.io.files import make_folder, output_errors, read_json, text_digest, write_json
from frazil.io.mrc import write_volume
from frazil.records import Picks
from frazil.simulation.preset import SimulationPreset
from frazil.simulation.specimen import Likeness
from frazil.simulation.structures import Structure
from frazil.simulation.tomogram import SimulatedTomogram, simulate_tomogram
from frazil.version import __version__

SCHEMA_VERSION = 2
MANIFEST = "simulation.json"
USER = "simulated"
TYPES = {
    "wbp": "weighted back-projection, CTF-corrected, noise and all; grey values, matter dark",
    "denoised": "the same after the denoiser's stand-in; grey values, matter dark",
    "clean": "minus the mass density over the ice, dalton per cubic angstrom: no noise, no wedge, no CTF",
}
"""Tomogram types, and what they are."""

_SEGMENTATIONS = {
    "classes": "0 where no solid body of an annotated particle is, else the number of its class (labels)",
    "instances": "0 likewise, else the number of the particle: instance_id of its pick",
}
_RUNS_FOLDER = "ExperimentRuns"
_MRC_FOLDER = "mrc"


@dataclass(frozen=True)
class RunPlan:
    """One tomogram to simulate.

    Parameters
    ----------
    run : its copick run.
    index : what its seeds are derived from: a number, or the name of the real run.
    like : the picks of that run.
    """

    run: str
    index: int | str
    like: Likeness | None = None

    @property
    def like_digest(self) -> str | None:
        """Digest of the picks that are simulated again, and of the grid they are in."""
        if self.like is None:
            return None
        header = self.like.header
        parts = [f"{header.shape_voxel} {header.voxel_size_angstrom!r}"]
        for some in self.like.picks:
            rotations = None if some.rotations is None else some.rotations.tolist()
            parts.append(f"{some.label} {some.centers_angstrom.tolist()} {rotations}")
        return text_digest("\n".join(parts))


@dataclass(frozen=True)
class FinishedRun:
    """What is known of a simulated run afterwards.

    Parameters
    ----------
    record : goes into the manifest.
    seconds : how long each part took; not in the manifest, so that the same settings give the same bytes.
    """

    run: str
    record: dict[str, Any]
    seconds: dict[str, float]


@dataclass(frozen=True)
class SimulationProject:
    """Where simulated tomograms go, and what all of them share. Goes to worker processes as it is.

    Parameters
    ----------
    structures : by label, those of distractors too.
    types : of `TYPES`.
    levels : resolutions of the tomograms' pyramids.
    mrc : also write each tomogram as ``mrc/<type>/<run>.mrc``.
    digests : of structure files, by path.
    like : which project is simulated again; None for random places.
    """

    out: Path
    preset: SimulationPreset
    seed: int
    structures: Mapping[str, Structure]
    types: tuple[str, ...]
    levels: int
    mrc: bool
    digests: Mapping[str, str]
    like: Mapping[str, Any] | None = None

    @property
    def labels(self) -> list[str]:
        """The annotated classes; the number of each in masks is its place here, from 1."""
        return sorted(label for label in self.structures if not self.preset.specimen.is_distractor(label))

    @property
    def parameters(self) -> dict[str, Any]:
        """All that decides what is written, but for which runs."""
        return {
            "seed": self.seed,
            "types": list(self.types),
            "levels": self.levels,
            "mrc": self.mrc,
            "like": None if self.like is None else dict(self.like),
            "structure_digests": dict(self.digests),
            **self.preset.model_dump(mode="json", exclude={"name"}),
        }

    def finished(self, plans: list[RunPlan], *, force: bool) -> dict[str, dict[str, Any]]:
        """Make the folder a project of these parameters, and return the records of the runs that are finished.

        Raises
        ------
        OutputError : it holds something else, or cannot be written.
        """
        there, runs = read_manifest(self.out, force=force)
        if there == self.parameters and (self.out / CONFIG_NAME).exists():
            kept = {run: record for run, record in runs.items() if (self.out / _RUNS_FOLDER / run).is_dir()}
            other = [plan.run for plan in plans if plan.run in kept and not _is_of(kept[plan.run], plan)]
            if other and not force:
                raise OutputError(
                    f"{self.out}: holds {', '.join(other)} like other picks; pass --force to replace what differs"
                )
            return {run: record for run, record in kept.items() if run not in other}
        if runs and not force:
            difference = _difference(there, self.parameters)
            raise OutputError(f"{self.out}: holds tomograms with {difference}; pass --force to replace them")
        self._begin()
        return {}

    def write_manifest(self, runs: Mapping[str, Mapping[str, Any]]) -> None:
        """Write `simulation.json`, with the runs in the order of their names."""
        self._write_manifest(self.parameters, runs)

    def write_run(self, plan: RunPlan) -> FinishedRun:
        """Simulate one tomogram and put its run into the project, whole or not at all.

        Raises
        ------
        FrazilError : of whatever kind; the message begins with the run.
        """
        final = self.out / _RUNS_FOLDER / plan.run
        scratch = self.out / f".{plan.run}.partial"
        try:
            _remove(scratch)  # left by a call that was killed
            tomogram = simulate_tomogram(
                self.preset, self.seed, plan.index, like=plan.like, structures=dict(self.structures)
            )
            start = time.perf_counter()
            self._write_truth(scratch, plan.run, tomogram)
            self._write_tomograms(scratch, plan.run, tomogram)
            with output_errors(final):
                final.parent.mkdir(exist_ok=True)
                _remove(final)
                (scratch / _RUNS_FOLDER / plan.run).replace(final)
        except FrazilError as error:
            raise type(error)(f"{plan.run}: {error}") from None
        finally:
            _remove(scratch)
        seconds = tomogram.seconds | {"writing": time.perf_counter() - start}
        return FinishedRun(plan.run, _record(plan, tomogram), seconds)

    def _begin(self) -> None:
        make_folder(self.out)
        # A manifest without parameters first: killed while the old runs are removed, the next call begins anew as well.
        self._write_manifest({}, {})
        for path in (self.out / _RUNS_FOLDER, self.out / _MRC_FOLDER, *self.out.glob(".*.partial")):
            _remove(path)
        radii = {label: self.structures[label].radius_angstrom for label in self.labels}
        write_project_config(self.out, name=self.out.resolve().name, labels_radius_angstrom=radii, simulated=True)
        self._write_manifest(self.parameters, {})

    def _write_manifest(self, parameters: Mapping[str, Any], runs: Mapping[str, Mapping[str, Any]]) -> None:
        content = {
            "schema_version": SCHEMA_VERSION,
            "frazil_version": __version__,
            "simulated": True,
            "axis_order": "zyx",
            "preset": self.preset.name,
            "tomogram_types": {name: TYPES[name] for name in self.types},
            "segmentations": _SEGMENTATIONS,
            "labels": {label: number for number, label in enumerate(self.labels, start=1)},
            "parameters": dict(parameters),
            "runs": {run: runs[run] for run in sorted(runs)},
        }
        write_json(self.out / MANIFEST, content)

    def _write_truth(self, root: Path, run: str, tomogram: SimulatedTomogram) -> None:
        """Write the picks and the masks."""
        specimen = tomogram.specimen
        for particles in specimen.placed:
            if len(particles):
                picks = Picks(run, particles.structure.label, particles.centers_angstrom, particles.rotations)
                write_picks(root, picks, user=USER, instances=particles.instances)
        for name in _SEGMENTATIONS:
            write_segmentation(
                root,
                run=run,
                volume=specimen.classes if name == "classes" else specimen.instances,
                voxel_size_angstrom=specimen.voxel_size_angstrom,
                name=name,
                user=USER,
                simulated=True,
            )

    def _write_tomograms(self, root: Path, run: str, tomogram: SimulatedTomogram) -> None:
        voxel_size_angstrom = tomogram.specimen.voxel_size_angstrom
        for name in self.types:
            volume = -tomogram.specimen.density if name == "clean" else getattr(tomogram, name)
            write_tomogram(
                root,
                run=run,
                volume=volume,
                voxel_size_angstrom=voxel_size_angstrom,
                tomogram_type=name,
                levels=self.levels,
                tilt_range_degrees=None if name == "clean" else self.preset.microscope.tilts.range_degrees,
                simulated=True,
            )
            if self.mrc:
                write_volume(self.out / _MRC_FOLDER / name / f"{run}.mrc", volume, voxel_size_angstrom, simulated=True)


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


def _record(plan: RunPlan, tomogram: SimulatedTomogram) -> dict[str, Any]:
    """Return what chance gave to a run."""
    specimen, series = tomogram.specimen, tomogram.series
    return {
        "index": plan.index,
        "like_digest": plan.like_digest,
        "shape_voxel": list(specimen.density.shape),
        "voxel_size_angstrom": specimen.voxel_size_angstrom,
        "particles": {particles.structure.label: len(particles) for particles in specimen.placed},
        "distractors": {particles.structure.label: len(particles) for particles in specimen.distractors},
        "crowding": specimen.crowding,
        "grey_factor": tomogram.grey_factor,
        "tilt_series": {
            "angles_degrees": _numbers(series.angles_degrees),
            "true_angles_degrees": _numbers(series.true_angles_degrees),
            "dose_before_e_per_angstrom2": _numbers(series.dose_before_e_per_angstrom2),
            "dose_e_per_angstrom2": series.dose_e_per_angstrom2,
            "shifts_angstrom": [_numbers(shift) for shift in series.shifts_angstrom],
            "defocus_um": _numbers(tomogram.defocus_um),
        },
    }


def _numbers(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]


def _is_of(record: Mapping[str, Any], plan: RunPlan) -> bool:
    return record.get("like_digest") == plan.like_digest


def _difference(there: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """Name the parameters of an existing project that differ, with its values."""
    if "simulator" in there:
        return "an older simulator"
    old, new = _flat(there), _flat(parameters)
    differing = [key for key in {**new, **old} if old.get(key) != new.get(key)]
    named = []
    for key in differing:
        name = ".".join(key[-2:])
        named.append(f"{name} {old[key]}" if key in old else f"no {name}")
    return ", ".join(named[:3] + ["..."] * (len(named) > 3)) or "other settings"


def _flat(content: Mapping[str, Any], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return the values of nested tables by their place."""
    flat: dict[tuple[str, ...], Any] = {}
    for key, value in content.items():
        place = (*above, key)
        flat |= _flat(value, place) if isinstance(value, Mapping) else {place: value}
    return flat


def _remove(path: Path) -> None:
    with output_errors(path):
        if path.exists():
            shutil.rmtree(path)
