"""A training set of blobs: class 0 is dark in the middle, class 1 bright."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from frazil.core.settings import DiffusionSettings, ModelSettings, Preset, TrainingSettings
from frazil.dataset.boxes import Subtomogram
from frazil.training.data import BoxData
from frazil.training.hardware import Hardware
from frazil.training.job import TrainingJob


@dataclass
class Blobs:
    count: int
    edge: int = 8
    first: int = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Subtomogram:
        grid = np.stack(np.meshgrid(*[np.arange(self.edge) - self.edge / 2] * 3, indexing="ij"))
        volume = torch.from_numpy(np.exp(-(grid**2).sum(0) / 6)).float()
        volume = (volume - volume.mean()) / volume.std() * (1 if row % 2 else -1)
        return Subtomogram(
            volume[None],
            row % 2,
            torch.full((3,), 0.5),
            self.first + row,
            torch.full((3,), 100.0),
            torch.full((3,), 0.99),
        )


@pytest.fixture
def training_set():
    return Blobs(20)


@pytest.fixture
def validation_set():
    return Blobs(4, first=100)


@pytest.fixture
def tiny_preset():
    return Preset(
        name="tiny",
        model=ModelSettings(base_channels=8, embedding_width=8),
        diffusion=DiffusionSettings(timesteps=50),
        training=TrainingSettings(
            epochs=3, batch_size=8, learning_rate=3e-3, ema_decay=0.9, validation_draws=5, seed=4
        ),
    )


CPU = Hardware(accelerator="cpu")


class Store(SimpleNamespace):
    def __len__(self):
        return self.description.box_count


@pytest.fixture
def make_job(tmp_path):
    """Return a function that makes a job for a store of two classes, of which only the description is there."""

    def make(preset, *, edge=8, count=100, run=None, hardware=CPU, end=None):
        described = SimpleNamespace(box_size_voxel=edge, box_count=count, labels=("a", "b"), tilt_range_degrees=None)
        store = Store(path=Path("store"), description=described, digest="")
        return TrainingJob(run or tmp_path / "run", BoxData(store), preset, hardware, None, end)

    return make
