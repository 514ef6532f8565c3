"""What a training learns from: a box store or a tomogram store, behind the same few questions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import override

from frazil.core.errors import SettingsError, ShapeError, StoreError
from frazil.core.reading import read_json
from frazil.core.records import Moments
from frazil.core.settings import Preset
from frazil.dataset.boxes import Subtomograms
from frazil.dataset.description import DESCRIPTION, StoreDescription
from frazil.dataset.examples import BoxExamples, Examples
from frazil.dataset.store import BoxStore
from frazil.dataset.tomograms.description import TomogramStoreDescription
from frazil.dataset.tomograms.store import TomogramStore
from frazil.dataset.tomograms.windows import Windows
from frazil.dataset.variation import Variation, largest_edge
from frazil.model.bundle import Bundle
from frazil.model.unet import check_box_size
from frazil.volume.arrangement import LayoutStatistics, layout_statistics
from frazil.volume.layout import Painter

_USUAL_WINDOW_VOXEL = 48


class TrainingData(ABC):
    """A store, and what it means for a network of a preset."""

    what: str
    """Boxes or windows, for messages."""

    path: Path
    digest: str
    nbytes: int
    """Memory that all of it takes."""

    description: StoreDescription | TomogramStoreDescription

    @property
    @abstractmethod
    def radii_angstrom(self) -> dict[str, float]:
        """Radii of the particles, by label, as far as they are known."""

    @abstractmethod
    def complete(self, preset: Preset) -> Preset:
        """Return the preset with what the store decides; refuse a network that learns from something else."""

    @abstractmethod
    def edge_voxel(self, preset: Preset) -> int:
        """Return the edge of what the network sees at once."""

    def box_size_voxel(self, preset: Preset) -> int:
        """Return the edge of the boxes that are sampled from the network."""
        return self.edge_voxel(preset)

    @abstractmethod
    def count(self, split: str) -> int:
        """Return the number of particles of a split."""

    @abstractmethod
    def unseen(self) -> list[str]:
        """Return the classes of which no particle trains."""

    @abstractmethod
    def check(self, preset: Preset, *, started: bool) -> None:
        """Refuse what the network cannot take; it is a trained one if `started`."""

    @abstractmethod
    def examples(self, split: str, preset: Preset, classes: Sequence[str], *, in_memory: bool) -> Examples:
        """Return what the network sees of a split; `classes` are in the order of their numbers."""

    @abstractmethod
    def moments(self, preset: Preset) -> Moments:
        """Return the typical center and spread of the gray values, which turn normalized ones back."""

    @abstractmethod
    def statistics(self) -> LayoutStatistics | None:
        """Return how the particles are arranged; None for boxes."""

    def tomograms_seen(self) -> tuple[str, ...]:
        """Return the digests of whole tomograms that train or validate."""
        return ()

    @abstractmethod
    def put_templates(self, templates: Tensor, classes: Sequence[str]) -> None:
        """Fill in what a particle of each class looks like."""


class BoxData(TrainingData):
    """Boxes, each with a class and a position."""

    what = "boxes"

    def __init__(self, store: BoxStore) -> None:
        self.store = store
        self.description: StoreDescription = store.description
        self.path, self.digest = store.path, store.digest
        self.nbytes = 4 * len(store) * store.description.box_size_voxel**3

    @property
    @override
    def radii_angstrom(self) -> dict[str, float]:
        return {c.label: c.diameter_angstrom / 2 for c in self.description.counts if c.diameter_angstrom}

    @override
    def complete(self, preset: Preset) -> Preset:
        if preset.model.layout_channels or preset.training.normalisation == "tomogram":
            raise SettingsError(
                f"{self.path}: holds boxes, but a network with layouts learns from whole tomograms; use frazil curate --whole, or "
                "preset fast"
            )
        return preset

    @override
    def edge_voxel(self, preset: Preset) -> int:
        return preset.training.box_size_voxel or self.description.box_size_voxel

    @override
    def count(self, split: str) -> int:
        return len(self.store.boxes(split))

    @override
    def unseen(self) -> list[str]:
        seen = set(self.store.particles.iloc[self.store.boxes("train")]["label"])
        return [label for label in self.description.labels if label not in seen]

    @override
    def check(self, preset: Preset, *, started: bool) -> None:
        try:
            check_box_size([self.edge_voxel(preset)] * 3, preset.model)
        except ShapeError as fault:
            raise ShapeError(f"{self.path}: {fault}; {self._other_edge(preset, started)}") from None
        self.variation(preset)

    def variation(self, preset: Preset) -> Variation:
        """Return how boxes are cut and varied."""
        try:
            return Variation.of(
                preset.training,
                box_size_voxel=self.description.box_size_voxel,
                tilt_range_degrees=self.description.tilt_range_degrees,
                edge_multiple=2**preset.model.halvings,
            )
        except SettingsError as fault:
            raise SettingsError(f"{self.path}: {fault}") from None

    def _other_edge(self, preset: Preset, started: bool) -> str:
        """Say which edge the network takes: cut from the boxes if they have room for it, else of other boxes."""
        multiple = 2**preset.model.halvings
        edge = self.description.box_size_voxel
        fitting = largest_edge(preset.training, box_size_voxel=edge, edge_multiple=multiple)
        remedy = f"train on boxes of {fitting}" if fitting else f"curate boxes of {multiple}"
        return remedy if started else f"{remedy}, or with fewer model.channel_multipliers"

    @override
    def examples(self, split: str, preset: Preset, classes: Sequence[str], *, in_memory: bool) -> Examples:
        boxes = Subtomograms(self.store, split, preset.training.normalisation, in_memory=in_memory, classes=classes)
        return BoxExamples(boxes, self.variation(preset), seed=preset.training.seed)

    @override
    def moments(self, preset: Preset) -> Moments:
        names = [f"{name}_{preset.training.normalisation}" for name in ("mean", "std")]
        mean, std = self.store.particles[names].median()
        return Moments(float(mean), float(std))

    @override
    def statistics(self) -> None:
        return None

    @override
    def put_templates(self, templates: Tensor, classes: Sequence[str]) -> None:
        raise SettingsError(f"{self.path}: boxes have no layouts")


class TomogramData(TrainingData):
    """Whole tomograms with layouts.

    Parameters
    ----------
    teacher : paints particles with its averages, which its student has to be told, too; None takes the store's.
    """

    what = "windows"

    def __init__(self, store: TomogramStore, teacher: Bundle | None = None) -> None:
        self.store = store
        if teacher is None or teacher.network.layout is None:
            self._averages = dict(zip(store.description.labels, torch.from_numpy(store.templates), strict=True))
        else:
            self._averages = dict(zip(teacher.card.labels, teacher.network.layout.templates[:, 0], strict=True))
        self.description: TomogramStoreDescription = store.description
        self.path, self.digest, self.nbytes = store.path, store.digest, store.nbytes

    @property
    @override
    def radii_angstrom(self) -> dict[str, float]:
        return self.description.radii_angstrom

    @override
    def tomograms_seen(self) -> tuple[str, ...]:
        return tuple(self.description.tomogram_digests.values())

    @override
    def complete(self, preset: Preset) -> Preset:
        if not preset.model.layout_channels:
            raise SettingsError(
                f"{self.path}: holds whole tomograms, but a network of preset {preset.name} learns from boxes; train with preset "
                "layout, or set model.layout_channels=32"
            )
        decided = {"layout_template_voxel": self._edge_voxel, "layout_maps": self.description.maps}
        model = preset.model.model_copy(update=decided)
        training = preset.training.model_copy(update={"normalisation": "tomogram"})
        return preset.model_copy(update={"model": model, "training": training})

    @override
    def edge_voxel(self, preset: Preset) -> int:
        return preset.training.box_size_voxel or _USUAL_WINDOW_VOXEL

    @override
    def box_size_voxel(self, preset: Preset) -> int:
        return preset.curate.box_size_voxel  # the network makes any size

    @override
    def count(self, split: str) -> int:
        return int((self.store.particles["split"] == split).sum())

    @override
    def unseen(self) -> list[str]:
        particles = self.store.particles
        seen = set(particles.loc[particles["split"] == "train", "label"])
        return [label for label in self.description.labels if label not in seen]

    @override
    def check(self, preset: Preset, *, started: bool) -> None:
        check_box_size([self.edge_voxel(preset)] * 3, preset.model)
        if preset.training.shift_voxel:
            raise SettingsError("training.shift_voxel: windows of whole tomograms lie anywhere; leave it out")

    @override
    def examples(self, split: str, preset: Preset, classes: Sequence[str], *, in_memory: bool) -> Examples:
        templates = torch.zeros(len(classes), 1, *[self._edge_voxel] * 3)
        self.put_templates(templates, classes)
        radii = [self.radii_angstrom.get(label, 0.0) / self.description.voxel_size_angstrom for label in classes]
        return Windows(
            self.store, split,
            Painter(templates[:, 0], radii, map_count=len(self.description.maps)), preset.training,
            edge_voxel=self.edge_voxel(preset), multiple=2**preset.model.halvings,
            classes=classes, in_memory=in_memory,
        )  # fmt: skip

    @override
    def moments(self, preset: Preset) -> Moments:
        return self.store.typical_moments

    @override
    def statistics(self) -> LayoutStatistics:
        return self._statistics

    @cached_property
    def _statistics(self) -> LayoutStatistics:
        described, runs = self.description, self.store.runs
        shapes = [described.tomograms[run].shape_voxel for run in runs]
        return layout_statistics(
            [self.store.layout(run) for run in runs],
            shapes,
            described.voxel_size_angstrom,
            {label: described.radii_angstrom[label] for label in described.labels},
        )

    @override
    def put_templates(self, templates: Tensor, classes: Sequence[str]) -> None:
        for label, average in self._averages.items():
            if label in classes:
                templates[classes.index(label), 0] = average

    @property
    def _edge_voxel(self) -> int:
        return max(int(average.shape[-1]) for average in self._averages.values())


def open_data(path: Path) -> TrainingData:
    """Open the store at `path`, whichever it is."""
    file = path / DESCRIPTION
    kind = read_json(file, StoreError).get("kind") if file.is_file() else None
    if kind == TomogramStoreDescription.model_fields["kind"].default:
        return TomogramData(TomogramStore.open(path))
    return BoxData(BoxStore.open(path))
