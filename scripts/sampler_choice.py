"""Find the fewest evaluations whose samples are within the seed-to-seed spread of DDPM-1000's: ``sampler_choice.py BUNDLE OUT``.

DDPM with all its steps is drawn with several seeds; how far these sets are from one another is the spread. Every other sampler and
number of steps is then measured by its mean distance from them: spectra and wedge (dex), standard deviation of the samples (%), skew,
kurtosis, and the mean radial profile of each class (in standard deviations of a voxel). Interrupted, it goes on: finished sets are in OUT.
Prints a Markdown table; a distance beyond the largest between two DDPM sets is set in bold.

DDPM with all its steps is no truth either. With --store a second table measures every set against held-out boxes of the same classes: there
a distance is bold that exceeds the largest of the DDPM sets.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import frazil
from frazil.core.files import atomic_path
from frazil.core.settings import SamplerName
from frazil.dataset.boxes import Subtomograms
from frazil.dataset.store import BoxStore
from frazil.sampling.generator import ParticleGenerator
from frazil.volume.spectra import CURVES, appearance, mean_curve

CANDIDATES: dict[SamplerName, tuple[int, ...]] = {
    "dpm++": (6, 8, 10, 12, 15, 20, 30),
    "sde-dpm++": (15, 20, 30),
    "ddim": (20, 50),
}


@dataclass(frozen=True)
class Drawn:
    """A set of samples, the same number of each class in a row."""

    volumes: np.ndarray
    labels: np.ndarray

    @property
    def statistics(self) -> dict[str, np.ndarray]:
        looks = [appearance(volume) for volume in self.volumes]
        found = {name: np.asarray(mean_curve([look.curve(name) for look in looks]).log_power) for name in CURVES}
        found["std, %"] = np.array([100 * self.volumes.std(axis=(1, 2, 3)).mean()])
        found["skew"] = np.array([np.mean([look.skew for look in looks])])
        found["kurtosis"] = np.array([np.mean([look.kurtosis for look in looks])])
        found["profiles"] = np.stack([self._profile(label) for label in np.unique(self.labels)])
        return found

    @property
    def scored(self) -> Drawn:
        """The same set, every volume z-scored: a generator may have learned cubes out of larger z-scored boxes."""
        axes = {"axis": (1, 2, 3), "keepdims": True}
        return Drawn((self.volumes - self.volumes.mean(**axes)) / self.volumes.std(**axes), self.labels)

    def _profile(self, label: str) -> np.ndarray:
        """Return the mean gray value by radius in the central XY slice, over the samples of a class."""
        edge = self.volumes.shape[1]
        y, x = np.indices((edge, edge)) - edge // 2
        ring = np.hypot(y, x).round().astype(int)
        picture = self.volumes[self.labels == label][:, edge // 2].mean(axis=0)
        return np.array([picture[ring == radius].mean() for radius in range(edge // 2)])


def drawn(generator: ParticleGenerator, out: Path, *, sampler: SamplerName, steps: int, seed: int, count: int) -> Drawn:
    """Return a set of samples, drawn or read."""
    path = out / f"{sampler}-{steps}-seed{seed}.npz"
    if not path.exists():
        samples = generator.sample(label=generator.labels, count=count, seed=seed, sampler=sampler, steps=steps)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, volumes=samples.volumes, labels=np.array(samples.labels))
    with np.load(path) as saved:
        return Drawn(saved["volumes"], saved["labels"])


def distances(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the mean absolute difference of each statistic; root mean square over radii and classes for the profiles."""
    found = {name: float(np.nanmean(np.abs(one[name] - other[name]))) for name in one if name != "profiles"}
    found["profiles"] = float(np.sqrt(np.mean(np.square(one["profiles"] - other["profiles"]))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=8, help="samples of each class in a set")
    parser.add_argument("--seeds", type=int, default=3, help="DDPM sets")
    parser.add_argument("--candidate-seeds", type=int, default=2, help="sets of every other sampler")
    parser.add_argument("--store", type=Path, help="box store whose validation boxes are the truth of a second table")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    generator = frazil.load(arguments.bundle)
    count = arguments.count
    reference = [
        drawn(generator, arguments.out, sampler="ddpm", steps=1000, seed=seed, count=count)
        for seed in range(arguments.seeds)
    ]
    looks = [one.statistics for one in reference]
    pairs = [distances(one, other) for one, other in itertools.combinations(looks, 2)]
    names = list(pairs[0])
    mean = {name: float(np.mean([pair[name] for pair in pairs])) for name in names}
    limit = {name: max(pair[name] for pair in pairs) for name in names}
    print("| sampler | steps | " + " | ".join(names) + " | within |\n|" + "---|" * (len(names) + 3))
    for title, row in (("ddpm, between seeds, mean", mean), ("ddpm, between seeds, largest", limit)):
        print(f"| {title} | 1000 | " + " | ".join(f"{row[name]:.3f}" for name in names) + " | |")
    candidates: dict[tuple[str, int], list[Drawn]] = {}
    for sampler, counts in CANDIDATES.items():
        for steps in counts:
            own = [
                drawn(generator, arguments.out, sampler=sampler, steps=steps, seed=100 + seed, count=count)
                for seed in range(arguments.candidate_seeds)
            ]
            candidates[sampler, steps] = own
            print_row(sampler, steps, [distances(one.statistics, other) for one in own for other in looks], limit)
    if arguments.store:
        limit.pop("std, %")  # z-scored
        truth = held_out(BoxStore.open(arguments.store), generator.labels).scored.statistics
        own = [distances(one.scored.statistics, truth) for one in reference]
        limit = {name: max(found[name] for found in own) for name in limit}
        print("\n| sampler | steps | " + " | ".join(limit) + " | within |\n|" + "---|" * (len(limit) + 3))
        print_row("ddpm", 1000, own, limit)
        for (sampler, steps), sets in candidates.items():
            print_row(sampler, steps, [distances(one.scored.statistics, truth) for one in sets], limit)


def print_row(sampler: str, steps: int, found: list[dict[str, float]], limit: dict[str, float]) -> None:
    """Print the mean of the distances that were found; bold where it is beyond the limit."""
    row = {name: float(np.mean([pair[name] for pair in found])) for name in limit}
    cells = [f"{row[name]:.3f}" if row[name] <= limit[name] else f"**{row[name]:.3f}**" for name in limit]
    inside = sum(row[name] <= limit[name] for name in limit)
    print(f"| {sampler} | {steps} | " + " | ".join(cells) + f" | {inside} of {len(limit)} |", flush=True)


def held_out(store: BoxStore, labels: Sequence[str]) -> Drawn:
    """Return z-scored validation boxes, as many of each class as there are of the rarest."""
    boxes = Subtomograms(store, "validation", "measured")
    names = np.array([store.description.labels[number] for number in boxes.labels])
    count = min(int((names == label).sum()) for label in labels)
    rows = np.concatenate([np.flatnonzero(names == label)[:count] for label in labels])
    return Drawn(np.stack([boxes[int(row)].volume[0].numpy() for row in rows]), names[rows])


if __name__ == "__main__":
    main()
