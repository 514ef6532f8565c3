"""Compare samples with the boxes of a store in a few numbers, each beside its floor: ``compare_samples.py STORE SAMPLES``.

A stopgap until `frazil evaluate` exists: gray-value statistics, power spectrum, missing wedge, and how close samples come to training
boxes (memorization), where the floor is the same number for validation boxes. Prints Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kurtosis, skew

from frazil.core.errors import RequestError
from frazil.dataset.boxes import Subtomograms
from frazil.dataset.store import BoxStore
from frazil.io.mrc import read_volume
from frazil.sampling.manifest import MANIFEST_FILE, SampleManifest
from frazil.volume.wedge import frequency_axes


def boxes_of(store: BoxStore, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return z-scored boxes (over their measured voxels), which voxels were measured, and the classes."""
    boxes = Subtomograms(store, split, "measured")
    volumes = np.stack([boxes[row].volume[0].numpy() for row in range(len(boxes))])
    measured = np.stack([store.measured(int(box)) for box in boxes.indices])
    return volumes, measured, [store.description.labels[number] for number in boxes.labels]


def samples_of(folder: Path) -> tuple[np.ndarray, list[str]]:
    """Return z-scored samples and their classes."""
    manifest = SampleManifest.read(folder / MANIFEST_FILE, RequestError)
    volumes = np.stack([read_volume(folder / entry.file) for entry in manifest.samples])
    return (volumes - volumes.mean((1, 2, 3), keepdims=True)) / volumes.std((1, 2, 3), keepdims=True), [
        entry.label for entry in manifest.samples
    ]


def log_power(volumes: np.ndarray, axes: str) -> np.ndarray:
    """Return the mean log10 radial power over 0.03 to 0.45 cycles a voxel in the planes XY, XZ or YZ."""
    order = {"XY": (0, 1, 2, 3), "XZ": (0, 2, 1, 3), "YZ": (0, 3, 1, 2)}[axes]
    slices = volumes.transpose(order)
    power = np.square(np.abs(np.fft.fft2(slices))).mean((0, 1)) / slices[0, 0].size
    radius = torch.hypot(*frequency_axes(power.shape)).numpy().ravel()
    shell = np.rint(radius * (min(power.shape) // 2 * 2)).astype(int)  # as wide as a pixel, centered on its multiples
    count = np.bincount(shell)
    frequency, mean = (np.bincount(shell, weights) / count for weights in (radius, power.ravel()))
    return np.log10(mean[(frequency > 0.03) & (frequency < 0.45)])


def wedge_profile(volumes: np.ndarray) -> np.ndarray:
    """Return power by angle to kx in the kz-kx plane, in steps of 15 degrees, at 0.05 to 0.4 cycles a voxel, over its maximum."""
    kz, _, kx = frequency_axes(volumes.shape[1:])
    angle = torch.rad2deg(torch.atan2(kz.abs(), kx.abs())).expand(*volumes.shape[1:])[:, 0]
    radius = (kz**2 + kx**2).sqrt()[:, 0]
    power = (torch.fft.fftn(torch.from_numpy(volumes), dim=(1, 2, 3)).abs() ** 2).mean(0)[:, 0]
    inside = (radius > 0.05) & (radius < 0.4)
    profile = np.array([float(power[inside & (angle >= a) & (angle < a + 15)].mean()) for a in range(0, 90, 15)])
    return profile / profile.max()


def nearest(volumes: np.ndarray, training: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return the highest correlation of each volume with a training box, over its measured voxels and shifts of up to two."""
    shifts = [(z, y, x) for z in (-2, 0, 2) for y in (-2, 0, 2) for x in (-2, 0, 2)]
    best = np.full(len(volumes), -1.0)
    for box, mask in zip(training, measured, strict=True):
        for shift in shifts:
            there = np.roll(mask, shift, (0, 1, 2))
            moved = np.roll(box, shift, (0, 1, 2))[there]
            a = volumes[:, there] - volumes[:, there].mean(1, keepdims=True)
            b = moved - moved.mean()
            best = np.maximum(best, (a @ b) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b) + 1e-12))
    return best


def row(name: str, *values: float) -> str:
    """Return a row of a Markdown table."""
    return f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("samples", type=Path)
    arguments = parser.parse_args()
    store = BoxStore.open(arguments.store)
    train, train_measured, train_labels = boxes_of(store, "train")
    held, held_measured, held_labels = boxes_of(store, "validation")
    generated, labels = samples_of(arguments.samples)
    noise = np.random.default_rng(0).standard_normal(generated.shape).astype(np.float32)
    # spectra need boxes without padding, whose edge would be the strongest feature
    whole = np.concatenate([train[train_measured.all((1, 2, 3))], held[held_measured.all((1, 2, 3))]])

    print(
        f"{len(train)} training, {len(held)} validation boxes ({len(whole)} without padding), {len(generated)} samples\n"
    )
    print("| gray values | skew | excess kurtosis |\n|---|---|---|")
    print(row("training boxes, measured voxels", skew(train[train_measured]), kurtosis(train[train_measured])))
    print(row("validation boxes, measured voxels", skew(held[held_measured]), kurtosis(held[held_measured])))
    print(row("samples", skew(generated, axis=None), kurtosis(generated, axis=None)))

    print("\n| log10 power, mean absolute difference to whole real boxes (dex) | XY | XZ | YZ |\n|---|---|---|---|")
    planes = ("XY", "XZ", "YZ")
    half = len(whole) // 2
    for name, one, other in (
        ("one half of the real boxes against the other (floor)", whole[:half], whole[half:]),
        ("samples", generated, whole),
        ("white noise (ceiling)", noise, whole),
    ):
        print(row(name, *(np.abs(log_power(one, p) - log_power(other, p)).mean() for p in planes)))

    print("\n| power by angle to kx in the kz-kx plane | 0-15 | 15-30 | 30-45 | 45-60 | 60-75 | 75-90 |")
    print("|---|---|---|---|---|---|---|")
    print(row("whole real boxes", *wedge_profile(whole)))
    print(row("samples", *wedge_profile(generated)))

    print("\n| highest correlation with a training box | median | largest |\n|---|---|---|")
    for name, values in (
        ("validation boxes (floor)", nearest(held, train, train_measured)),
        ("samples", nearest(generated, train, train_measured)),
        ("white noise", nearest(noise, train, train_measured)),
    ):
        print(row(name, float(np.median(values)), float(values.max())))
    print("\n| class | training boxes | validation boxes | samples | highest correlation with a training box, median |")
    print("|---|---|---|---|---|")
    close = nearest(generated, train, train_measured)
    for label in sorted(set(labels)):
        mine = np.array([other == label for other in labels])
        counts = f"{train_labels.count(label)} | {held_labels.count(label)} | {mine.sum()}"
        print(f"| {label} | {counts} | {np.median(close[mine]):.2f} |")


if __name__ == "__main__":
    main()
