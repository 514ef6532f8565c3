from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from frazil.core.presets import load_preset
from frazil.core.records import Layout, Moments
from frazil.model.bundle import BundleCard, save_bundle
from frazil.model.unet import build_network
from frazil.volume.arrangement import layout_statistics

LABELS = ("apo-ferritin", "ribosome")
RADIUS_ANGSTROM = {"apo-ferritin": 30.0, "ribosome": 60.0}


@pytest.fixture
def make_layout_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a tiny untrained bundle that takes layouts; its weights are random, so a layout changes its output."""

    def make(**card) -> Path:
        settings = {
            "model.front_end": "haar",
            "model.layout_channels": 8,
            "model.layout_template_voxel": 9,
            "model.embedding_width": 8,
            "sampling.sampler": "dpm++",
            "sampling.steps": 3,
            "training.class_dropout": 0.1,
        }
        preset = load_preset("smoke", settings)
        network = build_network(preset.model, len(LABELS))
        generator = torch.Generator().manual_seed(1)
        for weight in network.parameters():
            weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
        network.layout.templates[1, 0, 3:6, 3:6, 2:8] = 1.0
        layout = Layout(
            np.array([0, 0, 1]), np.array([[5.0, 9, 9], [8, 30, 12], [11, 20, 30]]), np.full((3, 3, 3), np.nan)
        )
        fields = {
            "preset": preset,
            "labels": LABELS,
            "normalisation": preset.training.normalisation,
            "box_size_voxel": 16,
            "voxel_size_angstrom": 10.0125,
            "tilt_range_degrees": (-48.0, 45.0),
            "radius_angstrom": RADIUS_ANGSTROM,
            "moments": Moments(2.0, 5.0),
            "layouts": layout_statistics([layout], [(20, 40, 48)], 10.0125, LABELS),
        }
        save_bundle(tmp_path / "bundle", network, BundleCard(**fields | card))
        return tmp_path / "bundle"

    return make
