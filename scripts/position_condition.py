"""Does the position condition do anything? ``position_condition.py STORE BUNDLE``: held-out boxes and samples by their place.

Every held-out box is asked for again, at its own place and, as a control, at the place mirrored in z and at the middle of the tomogram.
Where the box sits in the slab shows in its upper and its lower half: the one that reaches out of the ice has less structure. Three
numbers of each box, and how they follow the place:

- tilt of the contrast: log of (standard deviation in the upper half / in the lower half), against the z position;
- border: the same of the left and the right half, against the x position;
- contrast: standard deviation of the outer shell over that of the whole box, against the distance from the middle of the slab.

Prints a Markdown table: slope and Pearson correlation with their standard errors (bootstrap over boxes).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import frazil
from frazil.dataset.boxes import Subtomograms
from frazil.dataset.store import BoxStore
from frazil.sampling.request import Request

BOOTSTRAP = 400


def halves(volumes: np.ndarray, axis: int) -> np.ndarray:
    """Return log10 of the standard deviation in the first half over that in the second, along z (0), y (1) or x (2)."""
    first, second = np.split(volumes, 2, axis=1 + axis)
    return np.log10(first.std(axis=(1, 2, 3)) / second.std(axis=(1, 2, 3)))


def shell(volumes: np.ndarray) -> np.ndarray:
    """Return the standard deviation in the upper and the lower eighth over that of the box."""
    eighth = volumes.shape[1] // 8
    ends = np.concatenate([volumes[:, :eighth], volumes[:, -eighth:]], axis=1)
    return ends.std(axis=(1, 2, 3)) / volumes.std(axis=(1, 2, 3))


def numbers(volumes: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "upper / lower half": halves(volumes, 0),
        "left / right half": halves(volumes, 2),
        "ends / box": shell(volumes),
    }


def against(positions: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "upper / lower half": positions[:, 0],
        "left / right half": positions[:, 2],
        "ends / box": np.abs(positions[:, 0] - 0.5),
    }


def fit(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> str:
    """Return slope and correlation with standard errors."""

    def both(rows: np.ndarray) -> tuple[float, float]:
        return float(np.polyfit(x[rows], y[rows], 1)[0]), float(np.corrcoef(x[rows], y[rows])[0, 1])

    slope, correlation = both(np.arange(len(x)))
    errors = np.std([both(random.integers(len(x), size=len(x))) for _ in range(BOOTSTRAP)], axis=0)
    return f"{slope:+.3f} ± {errors[0]:.3f} | {correlation:+.2f} ± {errors[1]:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--count", type=int, default=120, help="held-out boxes, spread over the store")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    boxes = Subtomograms(BoxStore.open(arguments.store), "validation", "measured", in_memory=False)
    generator = frazil.load(arguments.bundle)
    rows = np.linspace(0, len(boxes) - 1, min(arguments.count, len(boxes))).astype(int)
    items = [boxes[int(row)] for row in rows]
    real = np.stack([item.volume[0].numpy() for item in items])
    places = np.stack([item.position.numpy() for item in items]).astype(float)
    labels = [boxes.store.description.labels[item.label] for item in items]
    mirrored = places.copy()
    mirrored[:, 0] = 1 - mirrored[:, 0]
    sets = {"held-out boxes": real}
    for name, wanted in {
        "samples at their places": places,
        "at places mirrored in z": mirrored,
        "in the middle": places * 0 + 0.5,
    }.items():
        plan = generator.plan(
            [Request(label=label, position=tuple(place)) for label, place in zip(labels, wanted, strict=True)],
            seed=arguments.seed,
        )
        sets[name] = np.concatenate([samples.volumes for samples in generator.run(plan)])
    random = np.random.default_rng(0)
    print(f"{len(rows)} boxes; z positions {places[:, 0].min():.2f} to {places[:, 0].max():.2f}\n")
    print("| number | of | slope | correlation |\n|---|---|---|---|")
    for number, x in against(places).items():
        for name, volumes in sets.items():
            print(f"| {number} | {name} | {fit(x, numbers(volumes)[number], random)} |")


if __name__ == "__main__":
    main()
