"""The copick project that `frazil simulate` writes.

Each run is simulated in a folder of its own and moved into place when it is whole, with its record (`tomogram.json`), so any
number of processes can work on one project. `simulation.json` gathers the records.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from frazil.core.documents import differences
from frazil.core.errors import FrazilError, SimulationError
from frazil.core.folder import OutputFolder, final_place
from frazil.core.records import Picks
from frazil.core.settings import SourceSettings
from frazil.io.copick.project import CONFIG_NAME, write_picks, write_project_config, write_segmentation, write_tomogram
from frazil.io.copick.runs import MRC_FOLDER, RUNS_FOLDER, finish_run, finished_runs, run_scratch
from frazil.io.copick.source import open_tree
from frazil.io.like import Likeness
from frazil.io.mrc import write_volume
from frazil.simulation.limits import most_levels
from frazil.simulation.mrc_folder import write_picks_and_tilts, write_templates
from frazil.simulation.preset import SimulationPreset
from frazil.simulation.record import (
    RECORD_FILE,
    SEGMENTATIONS,
    TYPES,
    Parameters,
    RunRecord,
    SimulationRecord,
    describe_run,
    describe_structures,
)
from frazil.simulation.structures.catalog import Structure
from frazil.simulation.tomogram import SimulatedTomogram, simulate_tomogram

USER = "simulated"


@dataclass(frozen=True)
class RunPlan:
    """One tomogram to simulate.

    Its seeds are derived from the index: a number, or the name of the real run whose picks it is like.
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
        return None if self.like is None else self.like.digest


@dataclass(frozen=True)
class SimulationProject:
    """Where simulated tomograms go, and what all of them share. Goes to worker processes as it is.

    Structures include distractors; labels do not, and the number of a class in masks is its place there, from 1.
    """

    out: Path
    preset: SimulationPreset
    parameters: Parameters
    structures: Mapping[str, Structure]
    labels: Sequence[str]

    @property
    def folder(self) -> OutputFolder[SimulationRecord]:
        """The output folder of the command."""
        return OutputFolder(self.out, RECORD_FILE, SimulationRecord, (CONFIG_NAME, RUNS_FOLDER, MRC_FOLDER))

    def earlier(self, plans: Sequence[RunPlan], *, force: bool) -> SimulationRecord | None:
        """Return the record of an earlier call for the same tomograms, None if there is none; see `OutputFolder.earlier`."""
        return self.folder.earlier(self._record({}), force=force, compare=self._compare(plans))

    def _compare(self, plans: Sequence[RunPlan]) -> Callable[[SimulationRecord, SimulationRecord], list[str]]:
        def compare(old: SimulationRecord, new: SimulationRecord) -> list[str]:
            digests = {run: record.like_digest for run, record in self.runs().items()}
            changed = [plan.run for plan in plans if digests.get(plan.run, plan.like_digest) != plan.like_digest]
            return differences(old.parameters, new.parameters) + [f"other picks of {run}" for run in changed]

        return compare

    def begin(self, plans: Sequence[RunPlan], *, shared: bool, force: bool) -> SimulationProject:
        """Return the project to write: this one, or one that will replace it."""
        work, _ = self.folder.begin(self._record({}), force=force, shared=shared, compare=self._compare(plans))
        return replace(self, out=work.path)

    def finish(self, *, shared: bool) -> None:
        """Write `copick.json`, and `simulation.json` with all runs; remove the latter if there is nothing at all."""
        if runs := self.runs():
            radii = {label: self.structures[label].radius_angstrom for label in self.labels}
            write_project_config(
                self.out, name=final_place(self.out).resolve().name, labels_radius_angstrom=radii, simulated=True
            )
            if self.parameters.mrc:
                self._write_beside_mrc(runs)
            self._record(runs).write(self.folder.record_path)
        elif not shared and not self.folder.written():
            self.folder.abandon()

    def _write_beside_mrc(self, runs: dict[str, RunRecord]) -> None:
        picks: list[Picks] = []
        if any(count for record in runs.values() for count in record.particles.values()):
            folders = {"static": self.out, "overlay": self.out}  # the configuration may name where all of it will be
            source = open_tree(self.out, "copick project", SourceSettings(users=(USER,)), **folders)
            picks = [some for some in source.picks() if some.run in runs]
        write_picks_and_tilts(self.out, picks, runs)
        shown = {label: self.structures[label] for label in self.labels}
        write_templates(self.out, shown, next(iter(runs.values())).voxel_size_angstrom)

    def runs(self) -> dict[str, RunRecord]:
        """Return the records of the runs of which every file is there, by name."""
        return finished_runs(self.out, RunRecord)

    def missing(self, plans: Sequence[RunPlan], lost: Collection[str] = ()) -> list[RunPlan]:
        """Return the plans whose run is not whole; `lost` are files that are known to be gone."""
        broken = {Path(name).parts[1] for name in lost if name.startswith(f"{RUNS_FOLDER}/")}
        finished = self.runs().keys() - broken
        return [plan for plan in plans if plan.run not in finished]

    def _record(self, runs: dict[str, RunRecord]) -> SimulationRecord:
        return SimulationRecord(
            preset=self.preset.name,
            tomogram_types={name: TYPES[name] for name in self.parameters.types},
            labels={label: number for number, label in enumerate(self.labels, start=1)},
            structures=describe_structures(self.structures),
            parameters=self.parameters,
            runs=runs,
        )

    def write_run(self, plan: RunPlan) -> dict[str, float]:
        """Simulate one tomogram, put its run into the project, whole or not at all, and return the seconds of each part."""
        try:
            with run_scratch(self.out, plan.run) as scratch:
                tomogram = simulate_tomogram(
                    self.preset, self.parameters.seed, plan.index, like=plan.like, structures=self.structures
                )
                start = time.perf_counter()
                written = self._write_files(scratch, plan.run, tomogram)
                files = tuple(sorted(str(path.relative_to(scratch)) for path in written))
                record = describe_run(tomogram, index=plan.index, like_digest=plan.like_digest, files=files)
                finish_run(self.out, plan.run, scratch, record)
        except FrazilError as error:
            raise type(error)(f"{plan.run}: {error}") from None
        except (MemoryError, RuntimeError) as error:  # torch has no error of its own for it
            if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
                raise SimulationError(
                    f"{plan.run}: not enough memory; ask for a smaller shape, a coarser voxel or fewer workers"
                ) from None
            raise
        return tomogram.seconds | {"writing": time.perf_counter() - start}

    def _write_files(self, root: Path, run: str, tomogram: SimulatedTomogram) -> Iterator[Path]:
        """Write picks, masks and tomograms, and yield where; MRC copies go into the project at once."""
        specimen, tilts = tomogram.specimen, self.preset.microscope.tilts.angles_degrees
        shared: dict[str, Any] = {"run": run, "voxel_size_angstrom": specimen.voxel_size_angstrom, "simulated": True}
        for some in specimen.placed:
            if len(some):
                picks = Picks(run, some.structure.label, some.centers_angstrom, some.rotations)
                yield write_picks(root, picks, user=USER, instances=some.instances)
        for name in SEGMENTATIONS:
            yield write_segmentation(root, volume=getattr(specimen, name), name=name, user=USER, **shared)
        for name in self.parameters.types:
            volume = -specimen.density if name == "clean" else getattr(tomogram, name)
            levels = min(self.parameters.levels, most_levels(volume.shape))
            tilt_range = None if name == "clean" else (tilts[0], tilts[-1])
            yield write_tomogram(
                root, volume=volume, tomogram_type=name, levels=levels, tilt_range_degrees=tilt_range, **shared
            )
            if self.parameters.mrc:
                path = self.out / MRC_FOLDER / name / f"{run}.mrc"
                write_volume(path, volume, specimen.voxel_size_angstrom, simulated=True)
                yield root / path.relative_to(self.out)
