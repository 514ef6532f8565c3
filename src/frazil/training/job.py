"""What one call of `frazil train` trains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from frazil.core.errors import SettingsError, ShapeError, StoreError
from frazil.core.settings import Preset
from frazil.dataset.boxes import Subtomograms
from frazil.dataset.store import BoxStore
from frazil.dataset.variation import Variation, largest_edge
from frazil.model.unet import check_box_size
from frazil.training.hardware import Hardware
from frazil.training.plan import EpochPlan
from frazil.training.start import Start


@dataclass(frozen=True)
class TrainingJob:
    """Settings, boxes, start and hardware of a training run.

    Parameters
    ----------
    run : the folder that is written.
    preset : with the network and the noise schedule of `start`, if there is one.
    end : stop before this time on the clock `time.monotonic`, at the end of a segment; None trains all epochs.
    """

    run: Path
    boxes: BoxStore
    preset: Preset
    hardware: Hardware
    start: Start | None = None
    end: float | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes of the model, in the order of their numbers."""
        return self.boxes.description.labels if self.start is None else self.start.labels

    @property
    def edge_voxel(self) -> int:
        """Edge of what the network sees of a box."""
        return self.preset.training.box_size_voxel or self.boxes.description.box_size_voxel

    @property
    def edge_multiple(self) -> int:
        """What the edge of a box must be a multiple of."""
        return int(2**self.preset.model.halvings)

    @cached_property
    def variation(self) -> Variation:
        """How boxes are cut and varied."""
        described = self.boxes.description
        try:
            return Variation.of(
                self.preset.training,
                box_size_voxel=described.box_size_voxel,
                tilt_range_degrees=described.tilt_range_degrees,
                edge_multiple=self.edge_multiple,
            )
        except SettingsError as fault:
            raise SettingsError(f"{self.boxes.path}: {fault}") from None

    def split(self, name: str, *, in_memory: bool) -> Subtomograms:
        """Return the boxes of one split."""
        normalisation = self.preset.training.normalisation
        return Subtomograms(self.boxes, name, normalisation, in_memory=in_memory, classes=self.labels)

    def epoch_plan(self, boxes: int) -> EpochPlan:
        """Return how `boxes` are dealt to the steps of an epoch; refuse devices that cannot share a batch."""
        settings = self.preset.training
        return EpochPlan(boxes, settings.batch_size, self.hardware.processes, settings.accumulate, settings.seed)

    def check(self) -> None:
        """Refuse what cannot be trained, from the descriptions alone."""
        try:
            check_box_size([self.edge_voxel] * 3, self.preset.model)
        except ShapeError as fault:
            raise ShapeError(f"{self.boxes.path}: {fault}; {self._other_edge()}") from None
        count = len(self.boxes.boxes("train"))
        if not count:
            raise StoreError(f"{self.boxes.path}: no box is in the training split; curate with other --validation-run")
        self.hardware.check()
        self.epoch_plan(count)
        self.variation  # noqa: B018 - raises

    def _other_edge(self) -> str:
        """Say which edge the network takes: cut from the boxes if they have room for it, else of other boxes."""
        edge = self.boxes.description.box_size_voxel
        fitting = largest_edge(self.preset.training, box_size_voxel=edge, edge_multiple=self.edge_multiple)
        remedy = f"train with --box {fitting}" if fitting else f"curate with --box {self.edge_multiple}"
        return remedy if self.start is not None else f"{remedy}, or with fewer model.channel_multipliers"
