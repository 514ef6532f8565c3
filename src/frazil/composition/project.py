"""The copick project that `frazil compose` writes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import torch
from jaxtyping import Bool, Float, UInt16

from frazil.composition.denoise import Denoiser
from frazil.composition.layouts import PlannedTomogram, counts
from frazil.composition.record import (
    RECORD_FILE,
    SEGMENTATIONS,
    TOMOGRAM_TYPE,
    CompositionRecord,
    Parameters,
    RunRecord,
)
from frazil.composition.windows import largest_window
from frazil.core.errors import FrazilError, RequestError
from frazil.core.files import text_digest
from frazil.core.folder import OutputFolder
from frazil.core.ledger import remove_own
from frazil.core.memory import keep_freed_memory, machine_memory
from frazil.core.records import Layout, Moments, Picks, TomogramHeader
from frazil.io.checks import clean_name
from frazil.io.copick.project import OBJECTS, write_object_map, write_picks, write_segmentation, write_tomogram
from frazil.io.copick.runs import MRC_FOLDER, Advance, RunsProject, no_advance
from frazil.io.mrc import write_volume
from frazil.io.ome_zarr import most_levels
from frazil.io.pick_tables import write_pick_tables
from frazil.model.bundle import Bundle, BundleCard, load_bundle
from frazil.model.compute import Compute
from frazil.model.devices import bytes_per_box, choose_device
from frazil.model.layout import painter_of
from frazil.volume.contrast import with_contrast
from frazil.volume.masks import instance_mask

USER = "composed"
TABLES = "tables"
STATE = ".state"
"""What tomograms in the making have come to; hidden, and removed with each that is whole."""


@dataclass(frozen=True)
class CompositionProject(RunsProject[PlannedTomogram, RunRecord, CompositionRecord]):
    """Where composed tomograms go, and what all of them share."""

    bundle: Path
    card: BundleCard
    parameters: Parameters
    device: str

    user = USER
    run_type = RunRecord
    more_files = (TABLES, OBJECTS)

    @property
    def folder(self) -> OutputFolder[CompositionRecord]:
        """The output folder of the command."""
        return OutputFolder(self.out, RECORD_FILE, CompositionRecord, self.owns())

    @property
    def labels(self) -> list[str]:
        """Names of the classes in the project, in the order of the class indices; the number in masks is that in sorted order."""
        return [clean_name(label) for label in self.card.labels]

    def radii_angstrom(self) -> dict[str, float]:
        """See `RunsProject.radii_angstrom`."""
        return {
            name: self.card.radius_angstrom[label] for name, label in zip(self.labels, self.card.labels, strict=True)
        }

    def record(self, runs: dict[str, RunRecord]) -> CompositionRecord:
        """See `RunsProject.record`."""
        return CompositionRecord(
            bundle=self.bundle.resolve().name,
            provenance=self.card.provenance,
            tomograms_seen=self.card.tomograms_seen,
            segmentations=SEGMENTATIONS
            | dict.fromkeys(self.card.maps, "1 where the network was told this label map, else 0"),
            labels={label: number for number, label in enumerate(sorted(self.labels), start=1)},
            parameters=self.parameters,
            runs=runs,
        )

    def write_maps(self, runs: dict[str, RunRecord]) -> dict[str, float]:
        """Write what particles of each class are painted with, where their orientation is known; see `RunsProject.write_maps`."""
        network = _opened(self.bundle, "cpu", self.parameters.bundle_digest).network  # the GPUs may be the workers'
        templates = painter_of(network, self.card).templates.float().numpy()
        return {
            label: write_object_map(self.out, label, volume, self._voxel, simulated=True)
            for label, volume in zip(self.labels, templates, strict=True)
            if volume.any()
        }

    def write_beside(self, runs: dict[str, RunRecord]) -> None:
        """Write all picks as tables."""
        headers = {
            run: TomogramHeader(run, record.shape_voxel, record.voxel_size_angstrom, f"{run}.mrc")
            for run, record in runs.items()
        }
        write_pick_tables(self.out / TABLES, self.picks(runs), headers)

    def write_run(self, plan: PlannedTomogram, advance: Advance = no_advance) -> None:
        """Compose one tomogram and put its run into the project, whole or not at all."""
        maps = np.zeros((len(self.card.maps), *plan.shape_voxel), dtype=bool)
        if plan.maps is not None:
            maps = plan.maps.read(plan.shape_voxel)
        told = plan.layout if self.parameters.orientations else plan.layout.without_rotations()
        asked = text_digest(plan.digest + self.parameters.model_dump_json()).removeprefix("sha256:")
        state = self.out / STATE / f"{plan.run}-{asked[:16]}"
        for other in (self.out / STATE).glob(f"{plan.run}-*"):
            if other != state:
                remove_own(other)
        bundle = _opened(self.bundle, self.device, self.parameters.bundle_digest)
        denoiser = self._denoiser(bundle, plan)
        threads = torch.get_num_threads() if denoiser.device.type == "cpu" else 1
        if denoiser.device.type == "cpu":
            keep_freed_memory(threads * self.window_bytes(plan.shape_voxel), machine_memory())
        steps = self.parameters.sampling.steps or 1
        try:
            volume = denoiser.denoise(
                told, plan.shape_voxel, state, maps=[*maps],
                seed=self.parameters.seed, index=plan.index,
                threads=threads,
                on_step=lambda share: advance(share / steps),
            )  # fmt: skip
            if plan.contrast_of is not None:
                with scipy.fft.set_workers(threads):
                    volume = with_contrast(volume, self.card.contrasts[plan.contrast_of])
            with self.scratch(plan.run) as scratch:
                mean, std = self.card.moments or (0.0, 1.0)
                gray = np.asarray(volume * np.float32(std) + np.float32(mean))
                instances = instance_mask(told, plan.shape_voxel, denoiser.painter, self._voxel)
                files = tuple(
                    sorted(
                        str(path.relative_to(scratch))
                        for path in self._write_files(
                            scratch, plan, self._labelled(told, denoiser), gray, instances, maps
                        )
                    )
                )
                record = RunRecord(
                    shape_voxel=plan.shape_voxel,
                    voxel_size_angstrom=self._voxel,
                    particles=dict(counts(plan.layout, self.labels)),
                    files=files,
                    index=plan.index,
                    layout_digest=plan.digest,
                    tilt_range_degrees=plan.tilt_range_degrees,
                    contrast_of=plan.contrast_of,
                    moments=Moments(float(gray.mean(dtype=np.float64)), float(gray.std(dtype=np.float64))),
                )
                self.put(plan.run, scratch, record)
        except FrazilError as error:
            raise type(error)(f"{plan.run}: {error}") from None
        except torch.OutOfMemoryError:
            raise RequestError(f"{plan.run}: a window does not fit in the memory of {self.device}; use cpu") from None
        remove_own(state)

    def window_bytes(self, shape_voxel: Sequence[int]) -> int:
        """Return about how much memory the largest window of a tomogram takes."""
        model = self.card.preset.model
        edge = math.ceil(largest_window(shape_voxel, 2**model.halvings) ** (1 / 3))
        return bytes_per_box(model, edge, self.parameters.precision)

    @property
    def _voxel(self) -> float:
        assert self.card.voxel_size_angstrom is not None
        return self.card.voxel_size_angstrom

    def _denoiser(self, bundle: Bundle, plan: PlannedTomogram) -> Denoiser:
        parameters, preset = self.parameters, self.card.preset
        compute = Compute.named(parameters.precision, parameters.memory_format)
        return Denoiser(
            network=compute.lay_out(bundle.network),
            painter=painter_of(bundle.network, self.card),
            multiple=2**preset.model.halvings,
            tilt_range_degrees=plan.tilt_range_degrees,
            diffusion=preset.diffusion,
            sampling=parameters.sampling,
            compute=compute,
            device=choose_device(self.device),
            heights=self.card.heights,
        )

    def _labelled(self, told: Layout, denoiser: Denoiser) -> Layout:
        """Return the layout with the orientations that can be seen: those of classes with a template."""
        seen = denoiser.painter.templates.flatten(1).any(dim=1).numpy()[told.label]
        return replace(told, rotation=np.where(seen[:, None, None], told.rotation, np.nan))

    def _write_files(
        self,
        root: Path,
        plan: PlannedTomogram,
        layout: Layout,
        gray: Float[np.ndarray, "z y x"],
        instances: UInt16[np.ndarray, "z y x"],
        maps: Bool[np.ndarray, "maps z y x"],
    ) -> Iterator[Path]:
        """Write picks, masks and the tomogram, and yield where; an MRC copy goes into the project at once."""
        shared: dict[str, Any] = {"run": plan.run, "voxel_size_angstrom": self._voxel, "simulated": True}
        for index, label in enumerate(self.labels):
            chosen = np.flatnonzero(layout.label == index)
            if len(chosen):
                some = layout[chosen]
                known = bool(np.isfinite(some.rotation).all())
                picks = Picks(plan.run, label, some.center_voxel * self._voxel, some.rotation if known else None)
                yield write_picks(root, picks, user=USER, instances=chosen + 1)
        class_of = np.zeros(len(layout) + 1, dtype=np.uint8)
        numbers = [sorted(self.labels).index(label) + 1 for label in self.labels]
        class_of[1:] = np.array(numbers)[layout.label]
        masks = dict(zip(SEGMENTATIONS, (class_of[instances], instances), strict=True))
        for name, volume in (masks | dict(zip(self.card.maps, maps.view(np.uint8), strict=True))).items():
            yield write_segmentation(root, volume=volume, name=name, user=USER, **shared)
        levels = min(self.parameters.levels, most_levels(plan.shape_voxel))
        yield write_tomogram(
            root,
            volume=gray,
            tomogram_type=TOMOGRAM_TYPE,
            levels=levels,
            tilt_range_degrees=plan.tilt_range_degrees,
            **shared,
        )
        if self.parameters.mrc:
            path = self.out / MRC_FOLDER / TOMOGRAM_TYPE / f"{plan.run}.mrc"
            write_volume(path, gray, self._voxel, simulated=True)
            yield root / path.relative_to(self.out)


@lru_cache(maxsize=1)
def _opened(bundle: Path, device: str, digest: str) -> Bundle:
    """Open a bundle, once for all tomograms of a process."""
    opened = load_bundle(bundle, choose_device(device))
    if opened.digest != digest:
        raise RequestError(f"{bundle}: changed since the composition began; rerun the command")
    return opened
