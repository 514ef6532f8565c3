"""Train one variant of a preset after the other for the same CPU time, and compare what they generate: ``ablation.py STORE OUT``.

Every row changes one line of the base; every row is trained with every seed for the same CPU time on one thread, so that a busy machine
changes little. Its loss is measured on fixed held-out pairs, samples are drawn with the preset's sampler, and compared with held-out
boxes of the store. Interrupted, it goes on: a finished row has a result.json. Several may run into one OUT, with other rows or seeds.
Prints a Markdown table of the rows that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

import frazil
from frazil.core.files import write_json
from frazil.dataset.boxes import Subtomograms
from frazil.dataset.store import BoxStore
from frazil.dataset.variation import Variation
from frazil.model.bundle import load_bundle
from frazil.training.batches import ValidationBatches, validation_loader
from frazil.training.checkpoint import load_checkpoint
from frazil.training.folder import CHECKPOINT_NAME
from frazil.training.loader import Waiting
from frazil.training.task import DenoisingTask
from frazil.volume.crop import crop_center
from frazil.volume.spectra import CURVES, Appearance, appearance, distance_dex, mean_curve

BASE = (
    "model.front_end=haar", "model.preconditioning=edm", "model.modulation=scale-shift", "model.attention_heads=4",
    "training.class_dropout=0.1", "training.learning_rate=3e-4", "training.ema_decay=0.995",
)  # fmt: skip
ROWS: dict[str, tuple[str, ...]] = {
    "base": (),
    "no front end": ("model.front_end=none",),
    "space-to-depth": ("model.front_end=space-to-depth",),
    "no preconditioning": ("model.preconditioning=none",),
    "bias instead of scale-shift": ("model.modulation=bias",),
    "no attention": ("model.attention_heads=0",),
    "min-SNR 5": ("training.loss_weighting=min-snr", "training.min_snr_gamma=5"),
    "no class dropout": ("training.class_dropout=0",),
    "last weights, no average": ("training.ema_decay=0",),
    "48 channels": ("model.base_channels=48",),
    "64 channels": ("model.base_channels=64",),
    "learning rate 1e-4": ("training.learning_rate=1e-4",),
    "learning rate 1e-3": ("training.learning_rate=1e-3",),
    "no preconditioning, learning rate 1e-3": ("model.preconditioning=none", "training.learning_rate=1e-3"),
}
CPU_CLOCK = "import sys, time; time.monotonic = time.process_time; from frazil.cli import main; sys.exit(main())"
"""Runs frazil with CPU time for its clock, so that --max-time means CPU time."""

LOSS_DRAWS = 5
"""Noise levels at which a held-out box is denoised."""

LOSS_BOXES = 110
"""Held-out boxes that are denoised, spread over the store: the same for every row."""

RINGS = ("apo-ferritin", "virus-like-particle")


def profile(volumes: np.ndarray) -> np.ndarray:
    """Return the mean gray value by radius in the central XY slice, over all volumes."""
    edge = volumes.shape[1]
    y, x = np.indices((edge, edge)) - edge // 2
    ring = np.hypot(y, x).round().astype(int)
    slices = volumes[:, edge // 2].mean(axis=0)
    return np.array([slices[ring == radius].mean() for radius in range(min(24, edge // 2))])


def held_out(store: BoxStore) -> tuple[np.ndarray, list[str]]:
    """Return z-scored validation boxes and their classes."""
    boxes = Subtomograms(store, "validation", "measured")
    volumes = np.stack([boxes[row].volume[0].numpy() for row in range(len(boxes))])
    return volumes, [store.description.labels[number] for number in boxes.labels]


def _looks(volumes: np.ndarray) -> list[Appearance]:
    return [appearance(volume) for volume in volumes[:: max(1, len(volumes) // LOSS_BOXES)]]


def compare(volumes: np.ndarray, labels: list[str], real: np.ndarray, real_labels: list[str]) -> dict[str, float]:
    """Return differences of the mean curves (dex), of skew and kurtosis, and correlations of the ring profiles."""
    looks = [_looks(volumes), _looks(real)]
    result = {
        name: distance_dex(*(mean_curve([one.curve(name) for one in group]) for group in looks)) for name in CURVES
    }
    for field in ("skew", "kurtosis"):
        means = [np.mean([getattr(one, field) for one in group]) for group in looks]
        result[field] = float(means[0] - means[1])
    for label in RINGS:
        own = [np.array([name == label for name in names]) for names in (labels, real_labels)]
        if own[0].any() and own[1].any():
            pair = [profile(group[mask]) for group, mask in zip((volumes, real), own, strict=True)]
            result[f"ring {label}"] = float(np.corrcoef(*pair)[0, 1])
    return result


def held_out_loss(folder: Path, store: BoxStore) -> dict[str, float]:
    """Return the loss of a bundle on the store's validation pairs, over all noise levels and in fifths of them."""
    bundle = load_bundle(folder)
    preset = bundle.card.preset
    boxes = Subtomograms(store, "validation", bundle.card.normalisation)
    timesteps = preset.diffusion.timesteps
    chosen = torch.utils.data.Subset(boxes, torch.linspace(0, len(boxes) - 1, LOSS_BOXES).long().tolist())
    fixed = preset.training.model_copy(update={"validation_draws": LOSS_DRAWS, "seed": 0})
    pairs = ValidationBatches(chosen, preset.model_copy(update={"training": fixed}), Variation())
    task = DenoisingTask(bundle.network.eval(), preset)
    levels, losses = [], []
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        for batch in validation_loader(pairs, batch_size=16, rank=0, devices=1, waiting=Waiting()):
            losses.append(task.errors(batch).mean(dim=1).double())
            levels.append(batch.t)
    loss, level = torch.cat(losses).numpy(), torch.cat(levels).numpy()
    fifth = level * 5 // timesteps
    return {"loss": float(loss.mean())} | {
        f"t {number * timesteps // 5}+": float(loss[fifth == number].mean()) for number in range(5)
    }


def measure(run: Path, count: int, store: BoxStore, real: np.ndarray, real_labels: list[str]) -> dict[str, float]:
    """Return how many steps a run made, its held-out losses, and how its samples compare; larger ones are cut to the real boxes."""
    checkpoint = run / CHECKPOINT_NAME  # a bundle alone made no steps here
    seen = {"steps": float(load_checkpoint(checkpoint)["global_step"]) if checkpoint.exists() else 0.0}
    generator = frazil.load(run / "bundle")
    samples = generator.sample(label=generator.labels, count=count, seed=0)
    volumes = crop_center(samples.volumes, real.shape[-1])
    scored = volumes - volumes.mean((1, 2, 3), keepdims=True)
    scored /= scored.std((1, 2, 3), keepdims=True)
    return seen | held_out_loss(run / "bundle", store) | compare(scored, list(samples.labels), real, real_labels)


def train(store: Path, run: Path, settings: list[str], minutes: float) -> None:
    """Train by the command line, on one thread, until `minutes` of CPU time are used."""
    arguments = ["train", str(store), "--out", str(run), "--preset", "fast", "--epochs", "1000"]
    arguments += ["--max-time", str(minutes), "--set", "training.validate_every=1000"]
    arguments += [part for one in settings for part in ("--set", one)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", CPU_CLOCK, *arguments], check=True, env=environment)
    write_json(run / "trained.json", {"cpu_minutes": minutes})


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0, help="CPU time of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--count", type=int, default=8, help="samples of each class")
    arguments = parser.parse_args()
    store = BoxStore.open(arguments.store)
    real, real_labels = held_out(store)
    for seed in arguments.seeds:
        for row in arguments.rows:
            run = arguments.out / f"{row}, seed {seed}".replace(" ", "-").replace(",", "")
            if (run / "result.json").exists():
                continue
            if not (run / "trained.json").exists():  # a second call would train on
                train(arguments.store, run, [*BASE, *ROWS[row], f"training.seed={seed}"], arguments.minutes)
            result = measure(run, arguments.count, store, real, real_labels)
            write_json(run / "result.json", {"row": row, "seed": seed} | result)
    half = np.arange(len(real)) % 2 == 0
    names = np.array(real_labels)
    floor = compare(real[half], names[half].tolist(), real[~half], names[~half].tolist())
    rows = [json.loads(path.read_text()) for path in sorted(arguments.out.glob("*/result.json"))]
    rows.sort(key=lambda one: (list(ROWS).index(one["row"]), one["seed"]))
    columns = list(rows[0])[2:]
    print("| row | seed | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 2))
    for one in [{"row": "held-out, one half against the other (floor)", "seed": "-"} | floor, *rows]:
        cells = [f"{one[name]:.3f}".removesuffix(".000") if name in one else "-" for name in columns]
        print(f"| {one['row']} | {one['seed']} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
