"""Do composed tomograms have seams where windows meet? Patches that straddle a border against patches that do not.

python scripts/seams.py STORE [STORE ...] [--patches 4000] [--seed 0]

STORE is of `frazil curate --whole`: of composed tomograms, and for the floor of simulated ones of the same shape, which have no
windows. A small network is trained to tell patches of 16^3 across a border from patches as far from one as can be, and tested in
another part of the tomograms: 0.5 is a coin. Then variance and each shell of the power spectrum, borders over elsewhere.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from frazil.composition.windows import padded_shape, tile
from frazil.core.seeds import numpy_generator
from frazil.dataset.tomograms.store import TomogramStore

EDGE, MULTIPLE = 16, 16
PARTS = 4
"""A tomogram is cut along the border into so many parts; each is tested once by a network that has seen the others."""


def borders(shape: tuple[int, ...], axis: int) -> list[int]:
    """Return the voxels along an axis at which cores begin, the first one left out."""
    return sorted({window.core[axis].start for window in tile(padded_shape(shape, MULTIPLE), MULTIPLE)} - {0})


def patches(store: TomogramStore, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return patches with the axis across the border first, whether they straddle one, and the part that each is in."""
    found, straddles, parts = [], [], []
    for run in store.runs:
        volume = np.asarray(store.array(run)[:], dtype=np.float32)
        for axis in range(3):
            at = borders(volume.shape, axis)
            if not at:
                continue
            turned = np.moveaxis(volume, axis, 0)
            ends = [0, *at, turned.shape[0]]
            between = [(low + high) // 2 for low, high in pairwise(ends)]
            for straddling, places in ((1, at), (0, between)):
                for _ in range(count // (2 * len(store.runs))):
                    center = random.choice(places)
                    y, x = (random.integers(0, edge - EDGE) for edge in turned.shape[1:])
                    block = turned[center - EDGE // 2 : center + EDGE // 2, y : y + EDGE, x : x + EDGE]
                    found.append(block)
                    straddles.append(straddling)
                    parts.append(x * PARTS // (turned.shape[2] - EDGE))
    return np.array(found), np.array(straddles), np.array(parts)


def told_apart(blocks: np.ndarray, straddles: np.ndarray, parts: np.ndarray, seed: int) -> float:
    """Return the share of patches of parts that the network has not seen that it tells right."""
    right = 0
    x, y = torch.from_numpy(blocks)[:, None], torch.from_numpy(straddles)
    for part in range(PARTS):
        torch.manual_seed(seed + part)
        network = nn.Sequential(
            nn.Conv3d(1, 16, 3), nn.ReLU(), nn.Conv3d(16, 32, 3, stride=2), nn.ReLU(), nn.Conv3d(32, 32, 3), nn.ReLU(),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 4**3, 2),
        )  # fmt: skip
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
        train, test = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
        random = numpy_generator(seed, "batches", part)
        for _ in range(300):
            rows = random.choice(train, 64)
            loss = F.cross_entropy(network(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            right += int((network.eval()(x[test]).argmax(1) == y[test]).sum())
    return right / len(blocks)


def ratios(blocks: np.ndarray, straddles: np.ndarray) -> dict[str, object]:
    """Return variance and power by shell of patches across borders, over those of the others."""
    window = np.hanning(EDGE + 2)[1:-1]
    weight = np.einsum("z,y,x->zyx", window, window, window)
    frequency = np.sqrt(sum(f**2 for f in np.meshgrid(*[np.fft.fftfreq(EDGE)] * 3, indexing="ij")))
    shell = np.round(frequency * EDGE).astype(int).ravel()
    means = []
    for straddling in (1, 0):
        some = blocks[straddles == straddling]
        power = np.square(np.abs(np.fft.fftn((some - some.mean()) * weight, axes=(1, 2, 3)))).mean(axis=0)
        by_shell = np.bincount(shell, power.ravel())[: EDGE // 2 + 1] / np.bincount(shell)[: EDGE // 2 + 1]
        means.append(np.append(some.var(), by_shell))
    return {"variance": means[0][0] / means[1][0], "shells": (means[0][1:] / means[1][1:]).round(3).tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--patches", type=int, default=4000, help="for each axis that is cut")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    for path in chosen.stores:
        blocks, straddles, parts = patches(
            TomogramStore.open(path), chosen.patches, numpy_generator(chosen.seed, "patches")
        )
        share = told_apart(blocks, straddles, parts, chosen.seed)
        error = 0.5 / np.sqrt(len(blocks))
        found = {"patches": len(blocks), "told apart": round(share, 4), "standard error": round(error, 4)}
        print(path, json.dumps(found | ratios(blocks, straddles)))


if __name__ == "__main__":
    main()
