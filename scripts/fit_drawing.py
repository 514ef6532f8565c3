"""Fit the filter that draws a layout's density into the output, and how much of it each noise level takes, by least squares.

python scripts/fit_drawing.py BUNDLE STORE --out BUNDLE [--windows 240] [--seed 0]

A gradient finds this filter slowly: fine structure is a small part of the loss, and steps of one window are noisy. What the trained
network lacks, the truth minus its prediction, is linear in the filter, so it can be solved for: on windows of the training tomograms
at high noise, where the layout is all that is known; then a share for each band and noise level. The other weights stay.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from frazil.core.records import NULL_LABEL, Condition
from frazil.core.seeds import torch_generator
from frazil.core.settings import TrainingSettings
from frazil.dataset.tomograms.store import TomogramStore
from frazil.dataset.tomograms.windows import Windows
from frazil.model.bundle import load_bundle, save_bundle
from frazil.model.compute import Compute
from frazil.model.layout import painter_of
from frazil.model.unet import ConditionalUNet

HIGH = (600, 1000)
"""Timesteps at which the filter is fitted."""

KNOTS = np.array([0, 200, 350, 450, 550, 650, 750, 850, 999])
EDGE = 64
RIDGE = 1e-4


class Lacking:
    """Windows of a store, and what a network lacks to them."""

    def __init__(self, network: ConditionalUNet, windows: Windows, seed: int, purpose: str) -> None:
        self.network, self.windows = network, windows
        self.generator = torch_generator(seed, purpose)
        self.compute = Compute.native("cpu")
        assert network.layout is not None
        self.branch = network.layout

    def draw(self, number: int, low: int, high: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the density of a window, what the output lacks, and the timestep, drawn from those in between."""
        row = int(torch.randint(len(self.windows), (1,), generator=self.generator))
        told = number % 4 > 0
        example = (
            self.windows.fixed(row) if told else self.windows.drawn(row, epoch=number)
        )  # half of these hide orientations
        t = torch.randint(low, high, (1,), generator=self.generator)
        abar = self.network.schedule.abar(t).float()
        x0 = example.volume[None]
        x = abar.sqrt() * x0 + (1 - abar).sqrt() * torch.randn(x0.shape, generator=self.generator)
        condition = Condition(
            torch.tensor([example.label]),
            example.position[None],
            example.layout[None],
            example.tilt_range_degrees[None],
        )
        with torch.no_grad(), self.compute.autocast("cpu"):
            lacks = self.network.front_end.split(x0 - self.network(x, t, condition).float())
            density = self.branch.density(example.layout[None], self.network.front_end)
        scales = self.network._scales(t)
        assert scales is not None
        return density, lacks / scales.out, t


def unfolded(density: Tensor, edge: int) -> Tensor:
    """Return what each output voxel of a filter of this edge sees: `(voxels, bands * edge^3)`, and a constant."""
    padded = F.pad(density, (edge // 2,) * 6)
    for axis in (2, 3, 4):
        padded = padded.unfold(axis, edge, 1)
    rows = padded.permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(0, 3).flatten(1)
    return torch.cat([rows, torch.ones(len(rows), 1)], dim=1)


def fit_filter(lacking: Lacking, count: int) -> None:
    """Solve for the filter on `count` windows at high noise."""
    branch = lacking.branch
    edge, bands = branch.draw.kernel_size[0], branch.draw.in_channels
    size = bands * edge**3 + 1
    gram, moment = (torch.zeros(size, columns, dtype=torch.float64) for columns in (size, bands))
    before = 0.0
    for number in range(count):
        density, lacks, _ = lacking.draw(number, *HIGH)
        rows, target = unfolded(density, edge), lacks[0].flatten(1).T
        gram += rows.T @ rows
        moment += rows.T @ target
        before += float(target.square().sum())
    gram.diagonal().mul_(1 + RIDGE)
    solved = torch.linalg.solve(gram, moment).float()
    branch.draw.weight.data.copy_(solved[:-1].T.reshape(branch.draw.weight.shape))
    branch.draw.bias.data.zero_()  # where nothing is painted, nothing is drawn
    print(f"{count} windows: the filter explains {float((solved * moment).sum()) / before:.4f} of what is lacking")


def fit_shares(lacking: Lacking, count: int) -> None:
    """Fit how much of each band every noise level takes: a line between knots, on `count` windows, which a linear layer then learns."""
    network, branch = lacking.network, lacking.branch
    timesteps, above, below = [], [], []
    for number in range(count):
        timestep = 1000 * number // count
        density, lacks, t = lacking.draw(number, timestep, timestep + max(1, 1000 // count))
        with torch.no_grad():
            drawn = branch.draw(density)
        timesteps.append(int(t))
        # of the whole, as the network draws all of it by now
        below.append(drawn.square().sum(dim=(0, 2, 3, 4)).numpy())
        above.append((drawn * (lacks + drawn)).sum(dim=(0, 2, 3, 4)).numpy())
    of_all, energy = np.array(above), np.array(below)
    hats = hat_functions(np.array(timesteps))
    told = torch.arange(0, 1000, 5)
    conditions = [(-45.0, 45.0), (-60.0, 60.0), (math.nan, math.nan)]
    with torch.no_grad():
        rows = torch.cat([network.embed(told, nowhere(len(told), tilts)) for tilts in conditions]).double()
    rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    gram = rows.T @ rows
    gram.diagonal().mul_(1 + RIDGE)
    for band in range(of_all.shape[1]):
        shares = np.linalg.solve(hats.T @ (energy[:, band, None] * hats), hats.T @ of_all[:, band])
        wanted = torch.from_numpy(np.tile(hat_functions(told.numpy()) @ shares - 1, len(conditions)))
        solved = torch.linalg.solve(gram, rows.T @ wanted)
        branch.share.weight.data[band], branch.share.bias.data[band] = solved[:-1].float(), solved[-1].float()
        off = float((rows @ solved - wanted).square().mean().sqrt())
        print(f"band {band}: shares at {KNOTS.tolist()}: {shares.round(2).tolist()}, learned to {off:.3f}")


def hat_functions(timesteps: np.ndarray) -> np.ndarray:
    """Return how near timesteps are to each knot: linear from 1 there to 0 at the next ones."""
    return np.array([np.interp(timesteps, KNOTS, one) for one in np.eye(len(KNOTS))]).T


def nowhere(count: int, tilts: tuple[float, float]) -> Condition:
    """Return a condition of whole tomograms, but for the layout."""
    return Condition(
        torch.full((count,), NULL_LABEL), torch.full((count, 3), math.nan), None, torch.tensor([tilts] * count)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    bundle, store = load_bundle(chosen.bundle), TomogramStore.open(chosen.store)
    network, card = bundle.network.eval(), bundle.card
    branch = network.layout
    assert branch is not None
    windows = Windows(
        store, "train", painter_of(network, card), TrainingSettings(half_turns=True, normalisation="tomogram"),
        edge_voxel=EDGE, multiple=2**card.preset.model.halvings, classes=card.labels, in_memory=False,
    )  # fmt: skip
    for layer in (branch.draw, branch.share):
        for parameter in layer.parameters():
            torch.nn.init.zeros_(parameter)
    fit_filter(Lacking(network, windows, chosen.seed, "drawing"), chosen.windows)
    fit_shares(Lacking(network, windows, chosen.seed, "shares"), chosen.windows)
    print(save_bundle(chosen.out, network, card).digest)


if __name__ == "__main__":
    main()
