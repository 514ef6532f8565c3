"""Can a classifier tell real central slices from others? Leave one subtomogram out, by features and by a small network.

python scripts/real_or_simulated.py REAL.npz OTHER [OTHER ...]

REAL and each OTHER are sets of slices that `frazil calibrate --slices` takes (NPZ, or a folder of volumes). As many others as
there are real ones, of the same classes where they have them, are drawn several times. Accuracy is that of single subtomograms
(their three slices vote): 0.5 is a coin, and with eight real ones a single draw has a standard error of 0.12.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage, stats
from torch import nn

from frazil.core.errors import SourceError
from frazil.core.slices import SliceSet
from frazil.io.slices import read_slices


def scored(subtomograms: SliceSet) -> np.ndarray:
    """Return the slices, those of a subtomogram z-scored together."""
    slices = subtomograms.slices.astype(np.float64)
    mean, std = (how(slices, axis=(1, 2, 3), keepdims=True) for how in (np.mean, np.std))
    return (slices - mean) / std


def features(slices: np.ndarray) -> np.ndarray:
    """Return log power in rings and along the axes, moments, quantiles and texture of each slice."""
    edge = slices.shape[-1]
    window = np.multiply.outer(np.hanning(edge), np.hanning(edge))
    cycles = np.fft.fftfreq(edge) * edge
    radius = np.hypot(*np.meshgrid(cycles, cycles))
    angle = np.degrees(np.arctan2(*np.abs(np.meshgrid(cycles, cycles))))
    regions = [
        (radius >= low) & (radius < low + 3) & near
        for low in range(2, edge // 2 - 2, 3)
        for near in (angle < 30, angle > 60)
    ]
    rows = []
    for image in slices:
        power = np.square(np.abs(np.fft.fft2((image - image.mean()) * window)))
        smooth = ndimage.gaussian_filter(image, 3)
        ground = image[smooth > np.quantile(smooth, 0.4)]
        moments = [stats.skew(image, None), stats.kurtosis(image, None), stats.skew(ground), stats.kurtosis(ground)]
        texture = [ground.std(), ndimage.laplace(image).std()]
        quantiles = np.quantile(image, [0.001, 0.01, 0.1, 0.9, 0.99, 0.999])
        rows.append(
            np.concatenate([np.log10([power[region].mean() for region in regions]), moments, texture, quantiles])
        )
    return np.array(rows)


def by_features(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, planes: tuple[np.ndarray, np.ndarray]
) -> float:
    """Return the mean score of the test slices by shrunken linear discriminants, one for each plane."""
    total = 0.0
    for plane in range(3):
        own, other = planes[0] == plane, planes[1] == plane
        x = features(train[own])
        mean, std = x.mean(axis=0), x.std(axis=0) + 1e-9
        x = (x - mean) / std
        y = labels[own]
        difference = x[y == 1].mean(axis=0) - x[y == 0].mean(axis=0)
        within = np.cov(np.concatenate([x[y == value] - x[y == value].mean(axis=0) for value in (0, 1)]).T)
        direction = np.linalg.solve(within + np.eye(len(within)), difference)
        middle = (x[y == 1].mean(axis=0) + x[y == 0].mean(axis=0)) / 2
        total += float((((features(test[other]) - mean) / std - middle) @ direction).sum())
    return total


def by_network(train: np.ndarray, labels: np.ndarray, test: np.ndarray, seed: int, steps: int) -> float:
    """Return the mean score of the test slices by a small convolutional network, trained on flips and crops."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    layers: list[nn.Module] = []
    for before, after in ((1, 12), (12, 24), (24, 32)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(4, after), nn.SiLU(), nn.AvgPool2d(2)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.02)
    images, truth = torch.tensor(train, dtype=torch.float32)[:, None], torch.tensor(labels, dtype=torch.float32)
    crop = train.shape[-1] * 3 // 4
    for _ in range(steps):
        chosen = torch.from_numpy(rng.integers(len(images), size=24))
        y, x = rng.integers(0, train.shape[-1] - crop + 1, size=2)
        batch = images[chosen, :, y : y + crop, x : x + crop]
        batch = batch.flip(-1) if rng.random() < 0.5 else batch
        batch = batch.flip(-2) if rng.random() < 0.5 else batch
        loss = nn.functional.binary_cross_entropy_with_logits(network(batch)[:, 0], truth[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        return float(network(torch.tensor(test, dtype=torch.float32)[:, None]).sum())


def draw(real: SliceSet, other: SliceSet, rng: np.random.Generator) -> list[int]:
    """Return as many of the others as there are real ones, of the same class where there is one."""
    left = list(rng.permutation(len(other.labels)))
    chosen = []
    for label in real.labels:
        same = [row for row in left if other.labels[row] == label] or left
        chosen.append(int(same[0]))
        left.remove(same[0])
    return chosen


def accuracies(real: SliceSet, other: SliceSet, seed: int, steps: int) -> tuple[float, float]:
    """Return the accuracy by features and by the network, leaving out one real and one other subtomogram at a time."""
    one, two = scored(real), scored(other)[draw(real, other, np.random.default_rng(seed))]
    right = np.zeros(2)
    for row in range(len(one)):
        kept = np.arange(len(one)) != row
        train = np.concatenate([one[kept], two[kept]])
        labels = np.repeat([1, 0], 3 * kept.sum())
        slices, planes = train.reshape(-1, *train.shape[2:]), np.tile(np.arange(3), len(train))
        for truth, held in ((1, one[row]), (0, two[row])):
            scores = (
                by_features(slices, labels, held, (planes, np.arange(3))),
                by_network(slices, labels, held, seed, steps),
            )
            right += [(score > 0) == truth for score in scores]
    return tuple((right / (2 * len(one))).tolist())


def main() -> None:
    """Print a line for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("others", type=Path, nargs="+")
    parser.add_argument("--voxel-size", type=float, help="of all sets, where files do not say it or say it wrong")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150, help="of training the network")
    arguments = parser.parse_args()
    try:
        real = read_slices(arguments.real, voxel_size_angstrom=arguments.voxel_size)
        print(f"{'set':40} {'features':>16} {'network':>16}   (mean and standard deviation of {arguments.draws} draws)")
        for path in arguments.others:
            other = read_slices(path, voxel_size_angstrom=arguments.voxel_size)
            found = np.array([accuracies(real, other, seed, arguments.steps) for seed in range(arguments.draws)])
            shown = [
                f"{mean:.2f} +- {std:.2f}" for mean, std in zip(found.mean(axis=0), found.std(axis=0), strict=True)
            ]
            print(f"{path!s:40} {shown[0]:>16} {shown[1]:>16}", flush=True)
    except SourceError as fault:
        raise SystemExit(f"real_or_simulated: {fault}") from None


if __name__ == "__main__":
    main()
