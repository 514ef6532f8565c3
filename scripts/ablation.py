"""Train one variant of a preset after the other for the same time, and compare what they generate: ``ablation.py STORE OUT``.

Every row changes one line of the base; every row is trained with every seed for the same wall time on the same threads (run it on
an otherwise idle machine), samples are drawn with the preset's sampler, and compared with held-out boxes of the store. Interrupted,
it goes on: finished rows are in OUT/ablation.json. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import frazil
from frazil.dataset.store import BoxStore
from frazil.dataset.subtomograms import Subtomograms
from frazil.io.files import write_json
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
}
RINGS = ("apo-ferritin", "virus-like-particle")


def profile(volumes: np.ndarray) -> np.ndarray:
    """Return the mean grey value by radius in the central XY slice, over all volumes."""
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


def compare(volumes: np.ndarray, labels: list[str], real: np.ndarray, real_labels: list[str]) -> dict[str, float]:
    """Return differences of the mean curves (dex), of skew and kurtosis, and correlations of the ring profiles."""
    looks: list[list[Appearance]] = [[appearance(volume) for volume in group] for group in (volumes, real)]
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


def measure(run: Path, count: int, real: np.ndarray, real_labels: list[str]) -> dict[str, float]:
    """Return the last losses of a run, and how its samples compare."""
    metrics = pd.read_csv(run / "metrics.csv").dropna(subset=["validation_loss"]).iloc[-1]
    losses = {str(name): float(metrics[name]) for name in metrics.index if str(name).startswith("validation_loss")}
    generator = frazil.load(run / "bundle")
    samples = generator.sample(label=generator.labels, count=count, seed=0)
    scored = samples.volumes - samples.volumes.mean((1, 2, 3), keepdims=True)
    scored /= scored.std((1, 2, 3), keepdims=True)
    seen = {"samples_seen": float(metrics["samples_seen"])}
    return seen | losses | compare(scored, list(samples.labels), real, real_labels)


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0, help="wall time of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--count", type=int, default=8, help="samples of each class")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "ablation.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    real, real_labels = held_out(BoxStore.open(arguments.store))
    half = np.arange(len(real)) % 2 == 0
    names = np.array(real_labels)
    results["held-out, one half against the other (floor)"] = compare(
        real[half], names[half].tolist(), real[~half], names[~half].tolist()
    )
    for seed in arguments.seeds:
        for row in arguments.rows:
            key = f"{row}, seed {seed}"
            if key in results:
                continue
            run = arguments.out / key.replace(" ", "-").replace(",", "")
            settings = [*BASE, *ROWS[row], f"training.seed={seed}", "training.validate_every=1"]
            command = [str(Path(sys.executable).with_name("frazil")), "train", str(arguments.store), "--out", str(run)]
            command += ["--preset", "fast", "--epochs", "1000", "--max-time", str(arguments.minutes)]
            subprocess.run([*command, *(part for one in settings for part in ("--set", one))], check=True)
            results[key] = measure(run, arguments.count, real, real_labels)
            write_json(path, results)
    columns = list(dict.fromkeys(name for result in results.values() for name in result))
    print("| row | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1))
    for key, result in results.items():
        cells = [f"{result[name]:.3f}" if name in result else "-" for name in columns]
        print(f"| {key} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
