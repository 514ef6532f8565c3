"""What a network leaves of the finest structure at very low noise: ``low_noise.py STORE BUNDLE ...``.

Training boxes get noise of known strength; the network says what was there. For each noise level: the mean squared error of what it
says, that of the noisy volume itself, and the log10 power of what it says over that of the boxes, by spatial frequency. The last step of
a sampler ends at what the network says at the lowest level, so what is missing there is missing in every sample. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from frazil.core.presets import load_preset
from frazil.dataset.boxes import Subtomograms
from frazil.dataset.store import BoxStore
from frazil.dataset.variation import Variation
from frazil.diffusion.objective import noise_volumes
from frazil.model.bundle import load_bundle
from frazil.model.noise import NoiseSchedule
from frazil.training.batches import NoisyBatch, ValidationBatches, validation_loader
from frazil.training.loader import Waiting
from frazil.volume.spectra import Plane, radial_curve, slice_power

SIGMAS = (0.1, 0.06, 0.025, 0.01)
"""Noise levels, of which the nearest timesteps are taken."""

SHOWN: tuple[Plane, ...] = ("XY", "YZ")
LOWEST_SHOWN = 0.35
"""Cycles per voxel; below, nothing is missing."""


def noisy_boxes(store: BoxStore, count: int) -> list[NoisyBatch]:
    """Return training boxes, spread over the store, with noise that is always the same."""
    boxes = Subtomograms(store, "train", "measured")
    chosen = torch.utils.data.Subset(boxes, np.linspace(0, len(boxes) - 1, count).astype(int).tolist())
    pairs = ValidationBatches(chosen, load_preset("paper", {"training.validation_draws": 1}), Variation())
    return list(validation_loader(pairs, batch_size=8, rank=0, devices=1, waiting=Waiting()))


def log_power(volumes: torch.Tensor, plane: Plane) -> np.ndarray:
    """Return log10 of the mean power, in the rings that are shown."""
    curve = radial_curve(np.mean([slice_power(volume[0].double().numpy(), plane) for volume in volumes], axis=0))
    return curve.log_power[curve.at > LOWEST_SHOWN]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--boxes", type=int, default=16)
    arguments = parser.parse_args()
    batches = noisy_boxes(BoxStore.open(arguments.store), arguments.boxes)
    clean = torch.cat([batch.volumes for batch in batches])
    print("| bundle | sigma | squared error, network | noisy volume | " + " | ".join(f"{p}, dex" for p in SHOWN) + " |")
    print("|" + "---|" * (4 + len(SHOWN)))
    for folder in arguments.bundles:
        bundle = load_bundle(folder)
        schedule = NoiseSchedule.from_settings(bundle.card.preset.diffusion)
        abar = schedule.alphas_cumprod
        sigmas = ((1 - abar) / abar).sqrt()
        for sigma in SIGMAS:
            t = int((sigmas - sigma).abs().argmin())
            said = []
            for batch in batches:
                level = torch.full_like(batch.t, t)
                with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
                    noisy = noise_volumes(batch.volumes, level, batch.noise, schedule)
                    said.append(bundle.network(noisy, level, batch.condition).float())
            volumes = torch.cat(said)
            error = (volumes - clean).square().mean().item()
            kept = [" ".join(f"{x:+.2f}" for x in log_power(volumes, p) - log_power(clean, p)) for p in SHOWN]
            print(f"| {folder} | {sigmas[t]:.3f} | {error:.5f} | {sigmas[t] ** 2:.5f} | " + " | ".join(kept) + " |")


if __name__ == "__main__":
    main()
