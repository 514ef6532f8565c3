"""The copick project that `frazil simulate` writes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frazil.core.errors import FrazilError, SimulationError
from frazil.core.folder import OutputFolder
from frazil.core.records import Picks
from frazil.io.copick.project import OBJECTS, write_object_map, write_picks, write_segmentation, write_tomogram
from frazil.io.copick.runs import MRC_FOLDER, Advance, RunsProject, no_advance
from frazil.io.like import Likeness
from frazil.io.mrc import write_volume
from frazil.io.ome_zarr import most_levels
from frazil.simulation.mrc_folder import density_map, write_picks_and_tilts, write_templates
from frazil.simulation.preset import SimulationPreset
from frazil.simulation.record import (
    HALVES,
    RECORD_FILE,
    TYPES,
    Parameters,
    RunRecord,
    SimulationRecord,
    describe_run,
    describe_structures,
    segmentations,
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
    def digest(self) -> str | None:
        """Digest of the picks that are simulated again, and of the grid they are in."""
        return None if self.like is None else self.like.digest


@dataclass(frozen=True)
class SimulationProject(RunsProject[RunPlan, RunRecord, SimulationRecord]):
    """Where simulated tomograms go, and what all of them share.

    Structures include distractors; labels do not, and the number of a class in masks is its place there, from 1.
    """

    preset: SimulationPreset
    parameters: Parameters
    structures: Mapping[str, Structure]
    labels: Sequence[str]

    user = USER
    run_type = RunRecord
    more_files = (OBJECTS,)

    @property
    def folder(self) -> OutputFolder[SimulationRecord]:
        """The output folder of the command."""
        return OutputFolder(self.out, RECORD_FILE, SimulationRecord, self.owns())

    def radii_angstrom(self) -> dict[str, float]:
        """See `RunsProject.radii_angstrom`."""
        return {label: self.structures[label].radius_angstrom for label in self.labels}

    def write_maps(self, runs: dict[str, RunRecord]) -> dict[str, float]:
        """See `RunsProject.write_maps`."""
        voxel_size = next(iter(runs.values())).voxel_size_angstrom
        maps = {label: density_map(self.structures[label], voxel_size) for label in self.labels}
        return {
            label: write_object_map(self.out, label, volume, voxel_size, simulated=True)
            for label, volume in maps.items()
        }

    def write_beside(self, runs: dict[str, RunRecord]) -> None:
        """Write what other programs want beside MRC copies."""
        if self.parameters.mrc:
            write_picks_and_tilts(self.out, self.picks(runs), runs)
            shown = {label: self.structures[label] for label in self.labels}
            write_templates(self.out, shown, next(iter(runs.values())).voxel_size_angstrom)

    def record(self, runs: dict[str, RunRecord]) -> SimulationRecord:
        """See `RunsProject.record`."""
        return SimulationRecord(
            preset=self.preset.name,
            calibrated_on=self.preset.calibrated_on,
            tomogram_types={name: TYPES[name] for name in self.parameters.types},
            segmentations=segmentations(self.preset.specimen),
            labels={label: number for number, label in enumerate(self.labels, start=1)},
            structures=describe_structures(self.structures),
            parameters=self.parameters,
            runs=runs,
        )

    def write_run(self, plan: RunPlan, advance: Advance = no_advance) -> dict[str, float]:
        """Simulate one tomogram, put its run into the project, whole or not at all, and return the seconds of each part."""
        try:
            with self.scratch(plan.run) as scratch:
                tomogram = simulate_tomogram(
                    self.preset, self.parameters.seed, plan.index, like=plan.like, structures=self.structures,
                    halves=not HALVES.isdisjoint(self.parameters.types),
                )  # fmt: skip
                start = time.perf_counter()
                written = self._write_files(scratch, plan.run, tomogram)
                files = tuple(sorted(str(path.relative_to(scratch)) for path in written))
                record = describe_run(tomogram, index=plan.index, like_digest=plan.digest, files=files)
                self.put(plan.run, scratch, record)
        except FrazilError as error:
            raise type(error)(f"{plan.run}: {error}") from None
        except (MemoryError, RuntimeError) as error:  # torch has no error of its own for it
            if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
                raise SimulationError(
                    f"{plan.run}: not enough memory; ask for a smaller shape, a coarser voxel or fewer workers"
                ) from None
            raise
        advance(1)
        return tomogram.seconds | {"writing": time.perf_counter() - start}

    def _write_files(self, root: Path, run: str, tomogram: SimulatedTomogram) -> Iterator[Path]:
        """Write picks, masks and tomograms, and yield where; MRC copies go into the project at once."""
        specimen, tilts = tomogram.specimen, self.preset.microscope.tilts.angles_degrees
        shared: dict[str, Any] = {"run": run, "voxel_size_angstrom": specimen.voxel_size_angstrom, "simulated": True}
        for some in specimen.placed:
            if len(some):
                picks = Picks(run, some.structure.label, some.centers_angstrom, some.rotations)
                yield write_picks(root, picks, user=USER, instances=some.instances)
        for name in segmentations(self.preset.specimen):
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
