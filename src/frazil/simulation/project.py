"""The folder that `frazil simulate` writes: a copick project, MRC copies on request, and `simulation.json`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frazil.core.errors import FrazilError, OutputError, SimulationError
from frazil.core.files import output_errors, text_digest, write_json
from frazil.core.records import Picks
from frazil.core.version import __version__
from frazil.io.copick.project import CONFIG_NAME, write_picks, write_project_config, write_segmentation, write_tomogram
from frazil.io.mrc import write_volume
from frazil.simulation.limits import most_levels
from frazil.simulation.manifest import (
    MANIFEST,
    SCHEMA_VERSION,
    describe_structures,
    describe_tomogram,
    difference,
    read_manifest,
)
from frazil.simulation.preset import SimulationPreset
from frazil.simulation.specimen.specimen import Likeness
from frazil.simulation.structures.library import Structure
from frazil.simulation.tomogram import SimulatedTomogram, simulate_tomogram

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

    def grid(self, preset: SimulationPreset) -> tuple[tuple[int, int, int], float]:
        """Return shape and voxel size of the tomogram."""
        of = preset.specimen if self.like is None else self.like.header
        return of.shape_voxel, of.voxel_size_angstrom

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
    levels : resolutions of the tomograms' pyramids; a small tomogram has fewer.
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
        """Return the records of the runs that are finished and whole. Nothing is written; where there are none, `begin`.

        Raises
        ------
        OutputError : the folder holds something else.
        """
        there, runs = read_manifest(self.out, force=force)
        if there == self.parameters and (self.out / CONFIG_NAME).exists():
            kept = {run: record for run, record in runs.items() if self._is_whole(record)}
            other = [plan.run for plan in plans if plan.run in kept and not _is_of(kept[plan.run], plan)]
            if other and not force:
                raise OutputError(
                    f"{self.out}: holds {', '.join(other)} like other picks; pass --force to replace what differs"
                )
            return {run: record for run, record in kept.items() if run not in other}
        if runs and not force:
            named = difference(there, self.parameters)
            raise OutputError(f"{self.out}: holds tomograms with {named}; pass --force to replace them")
        return {}

    def begin(self) -> None:
        """Make the folder a project of these parameters without runs; what an earlier project left goes.

        Raises
        ------
        OutputError : it cannot be written.
        """
        # A manifest without parameters first: killed while the old runs are removed, the next call begins anew as well.
        self._write_manifest({}, {})
        self._remove_runs()
        radii = {label: self.structures[label].radius_angstrom for label in self.labels}
        write_project_config(self.out, name=self.out.resolve().name, labels_radius_angstrom=radii, simulated=True)
        self._write_manifest(self.parameters, {})

    def discard(self) -> None:
        """Remove a project in which no run was finished: it would look like one that holds something."""
        self._remove_runs()
        with output_errors(self.out):
            for name in (CONFIG_NAME, MANIFEST, ".lock"):
                (self.out / name).unlink(missing_ok=True)

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
            files = self._write_truth(scratch, plan.run, tomogram) + self._write_tomograms(scratch, plan.run, tomogram)
            with output_errors(final):
                final.parent.mkdir(exist_ok=True)
                _remove(final)
                (scratch / _RUNS_FOLDER / plan.run).replace(final)
        except FrazilError as error:
            raise type(error)(f"{plan.run}: {error}") from None
        except (MemoryError, RuntimeError) as error:
            if not (
                isinstance(error, MemoryError) or "can't allocate memory" in str(error)
            ):  # torch has no error for it
                raise
            raise SimulationError(
                f"{plan.run}: not enough memory; ask for a smaller shape, a coarser voxel or fewer workers"
            ) from None
        finally:
            _remove(scratch)
        seconds = tomogram.seconds | {"writing": time.perf_counter() - start}
        places = sorted(str(path.relative_to(scratch)) for path in files)
        record = {"index": plan.index, "like_digest": plan.like_digest, **describe_tomogram(tomogram), "files": places}
        return FinishedRun(plan.run, record, seconds)

    def _is_whole(self, record: Mapping[str, Any]) -> bool:
        """Tell whether every file of a run is there: picks, masks and tomograms with their levels, MRC copies."""
        if not record.get("files"):
            return False
        paths = [self.out / place for place in record["files"]]
        for place in filter(_is_tomogram, record["files"]):
            folder = self.out / place
            paths += [folder / str(level) / ".zarray" for level in range(self._levels(record["shape_voxel"]))]
            if self.mrc:
                paths.append(self._mrc_path(folder.stem, Path(place).parts[1]))
        return all(path.exists() for path in paths)

    def _levels(self, shape_voxel: Sequence[int]) -> int:
        return min(self.levels, most_levels(shape_voxel))

    def _mrc_path(self, tomogram_type: str, run: str) -> Path:
        return self.out / _MRC_FOLDER / tomogram_type / f"{run}.mrc"

    def _remove_runs(self) -> None:
        for path in (self.out / _RUNS_FOLDER, self.out / _MRC_FOLDER, *self.out.glob(".*.partial")):
            _remove(path)

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
            "structures": describe_structures(self.structures),
            "parameters": dict(parameters),
            "runs": {run: runs[run] for run in sorted(runs)},
        }
        write_json(self.out / MANIFEST, content)

    def _write_truth(self, root: Path, run: str, tomogram: SimulatedTomogram) -> list[Path]:
        """Write the picks and the masks, and return where."""
        specimen, written = tomogram.specimen, []
        for particles in specimen.placed:
            if len(particles):
                picks = Picks(run, particles.structure.label, particles.centers_angstrom, particles.rotations)
                written.append(write_picks(root, picks, user=USER, instances=particles.instances))
        for name in _SEGMENTATIONS:
            path = write_segmentation(
                root,
                run=run,
                volume=specimen.classes if name == "classes" else specimen.instances,
                voxel_size_angstrom=specimen.voxel_size_angstrom,
                name=name,
                user=USER,
                simulated=True,
            )
            written.append(path)
        return written

    def _write_tomograms(self, root: Path, run: str, tomogram: SimulatedTomogram) -> list[Path]:
        voxel_size_angstrom, written = tomogram.specimen.voxel_size_angstrom, []
        for name in self.types:
            volume = -tomogram.specimen.density if name == "clean" else getattr(tomogram, name)
            path = write_tomogram(
                root,
                run=run,
                volume=volume,
                voxel_size_angstrom=voxel_size_angstrom,
                tomogram_type=name,
                levels=self._levels(volume.shape),
                tilt_range_degrees=None if name == "clean" else self.preset.microscope.tilts.taken_range_degrees,
                simulated=True,
            )
            written.append(path)
            if self.mrc:
                write_volume(self._mrc_path(name, run), volume, voxel_size_angstrom, simulated=True)
        return written


def _is_of(record: Mapping[str, Any], plan: RunPlan) -> bool:
    return record.get("like_digest") == plan.like_digest


def _is_tomogram(place: str) -> bool:
    """Tell a tomogram from picks and masks by its place: ``ExperimentRuns/<run>/VoxelSpacing<A>/<type>.zarr``."""
    return Path(place).parts[2].startswith("VoxelSpacing")


def _remove(path: Path) -> None:
    with output_errors(path):
        if path.exists():
            shutil.rmtree(path)
