"""Is a network nearer to real slices than the numbers that stand in for one? ``denoiser_network.py SLICES.npz OUT [--set KEY=VALUE]``

Specimens of the preset czii are reconstructed from even and from odd frames. A small 3D U-Net learns noise-to-noise: it sees one half and
predicts the other or, with ``--noiseless``, what both share: the limit of endlessly many halves, with the same minimum. Halves are
whitened, and as targets low-passed by the root of the Wiener filter, so that signal is a fair share. The network adds to that filter.

Prints error over signal, network and filter, by frequency, on specimens that it has not seen, in a Markdown table. Boxes around their
particles go to OUT/network, OUT/wiener, OUT/numbers and OUT/noiseless, for ``frazil evaluate OUT/network --against-curves SLICES.npz``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import scipy.fft
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from frazil.cli.options import parse_settings
from frazil.core.seeds import numpy_generator
from frazil.dataset.slices import read_real_slices
from frazil.io.mrc import write_volume
from frazil.simulation.calibration.slices import scene_settings
from frazil.simulation.microscope.denoiser import denoise
from frazil.simulation.microscope.microscope import take_tomogram
from frazil.simulation.preset import SimulationPreset, load_simulation_preset
from frazil.simulation.specimen.specimen import PlacedParticles, build_specimen
from frazil.simulation.tomogram import BESIDE_ANGSTROM

SEED, SEEN, UNSEEN, WINDOW = 9100, 4, 3, 64
INSIDE = (..., *3 * (slice(4, -4),))  # borders of a window do not count
BANDS = (0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.87)  # cycles per voxel
Volumes = dict[str, np.ndarray]


def scenes(preset: SimulationPreset, seed: int, count: int) -> Iterator[tuple[Volumes, list[PlacedParticles]]]:
    voxel, share = preset.specimen.voxel_size_angstrom, np.float32(preset.denoiser.noise_left)
    for index in range(count):
        streams = {
            name: numpy_generator(seed, name, index) for name in ("specimen", "microscope", "halves", "denoiser")
        }
        specimen = build_specimen(preset.specimen, streams["specimen"])
        taken = take_tomogram(
            specimen.density, voxel, preset.microscope, streams["microscope"], halves=streams["halves"],
            ice_thickness_angstrom=preset.specimen.ice_depth_angstrom, beside_angstrom=BESIDE_ANGSTROM,
        )  # fmt: skip
        numbers = denoise(taken.signal + share * taken.noise, voxel, preset.denoiser, streams["denoiser"])
        even, odd = (taken.signal + taken.noise + sign * taken.noise_between for sign in (1, -1))
        yield {"noiseless": taken.signal, "even": even, "odd": odd, "numbers": numbers}, specimen.placed


def power(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the power that two volumes share, by frequency, smooth, in units of their variance."""
    product = (scipy.fft.rfftn(one) * scipy.fft.rfftn(other).conj()).real / one.size
    return ndimage.gaussian_filter(product, 2, mode=("wrap", "wrap", "nearest"))


def filtered(volume: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return scipy.fft.irfftn(scipy.fft.rfftn(volume) * gain.astype(np.float32), s=volume.shape)


def convolutions(*channels: int) -> nn.Sequential:
    layers = [(nn.Conv3d(one, other, 3, padding=1), nn.LeakyReLU(0.1)) for one, other in pairwise(channels)]
    return nn.Sequential(*(layer for pair in layers for layer in pair))


class UNet(nn.Module):
    """Three levels, the first at half the resolution; adds to its second input, which is the linear prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv3d(2, 32, 2, stride=2), nn.ConvTranspose3d(24, 1, 2, stride=2, bias=False)
        self.enc1, self.enc2, self.enc3 = convolutions(32, 24, 24), convolutions(24, 32, 32), convolutions(32, 48, 48)
        self.dec2, self.dec1 = convolutions(80, 32), convolutions(56, 24)
        nn.init.zeros_(self.last.weight)

    def forward(self, white: Tensor, linear: Tensor) -> Tensor:
        h1 = self.enc1(self.first(torch.cat([white, linear], 1)))
        h2 = self.enc2(F.avg_pool3d(h1, 2))
        h3 = self.enc3(F.avg_pool3d(h2, 2))
        h2 = self.dec2(torch.cat([F.interpolate(h3, scale_factor=2), h2], 1))
        return linear + self.last(self.dec1(torch.cat([F.interpolate(h2, scale_factor=2), h1], 1)))


def train(windows: list[np.ndarray], steps: int, *, noiseless: bool) -> UNet:
    """Learn from stacks of the signal and, each twice, the halves whitened, Wiener filtered, and as targets."""
    torch.manual_seed(SEED)
    network, random = UNet().to(memory_format=torch.channels_last_3d), np.random.default_rng(SEED)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, steps, pct_start=0.05)
    sums = np.zeros(3)
    for step in range(1, steps + 1):
        scene, half = windows[random.integers(SEEN)], random.integers(2)
        start = [random.integers(edge - WINDOW + 1) for edge in scene.shape[1:]]
        flips = [1 + axis for axis in range(3) if random.random() < 0.5]
        cut = np.flip(scene[:, *(slice(at, at + WINDOW) for at in start)], flips)
        signal, own, linear, other = torch.from_numpy(cut[[0, 1 + half, 3 + half, 6 - half], None, None])
        said = network(own, linear)
        loss = (said - (signal if noiseless else other))[INSIDE].square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        sums += [part[INSIDE].square().mean().item() for part in (said.detach() - signal, linear - signal, signal)]
        if step % 100 == 0:
            print(step, f"{time.process_time():.0f} s; network, filter, signal:", (sums / 100).round(3), flush=True)
            sums[:] = 0
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slices", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", action="append", dest="settings", help="of the preset; repeatable")
    parser.add_argument("--noiseless", action="store_true")
    parser.add_argument("--steps", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    preset = load_simulation_preset("czii", parse_settings(given.settings))
    voxel = preset.specimen.voxel_size_angstrom
    curves = read_real_slices(given.slices, voxel_size_angstrom=voxel).curves
    preset = preset.model_copy(update={"specimen": scene_settings(preset.specimen, curves)})
    seen = [volumes for volumes, _ in scenes(preset, SEED, SEEN)]
    signal = np.mean([power(volumes["noiseless"], volumes["noiseless"]) for volumes in seen], axis=0)
    halves = np.mean([power(volumes[half], volumes[half]) for volumes in seen for half in ("even", "odd")], axis=0)
    wiener, white = (signal / halves).clip(max=1), 1 / np.sqrt(np.maximum(halves, 0.01 * halves.mean()))
    weight = white if given.noiseless else white * np.sqrt(wiener)
    weight = weight / np.sqrt((signal * np.square(weight)).mean())

    def stack(volumes: Volumes) -> np.ndarray:
        pairs = [filtered(volumes[half], gain) for gain in (white, weight * wiener, weight) for half in ("even", "odd")]
        return np.stack([filtered(volumes["noiseless"], weight), *pairs])

    stacks = [stack(volumes) for volumes in seen]
    network, gain = train(stacks, given.steps, noiseless=given.noiseless), np.ones(1)

    @torch.inference_mode()
    def predict(parts: np.ndarray) -> list[np.ndarray]:
        pairs = [torch.from_numpy(parts[1 + half : 5 : 2, None, None]) for half in (0, 1)]
        return [filtered(network(*pair)[0, 0].numpy(), gain) for pair in pairs]

    if not given.noiseless:  # a low-passed loss says little where it is faint: keep what agrees with the other half
        said = [pair for parts in stacks for pair in zip(predict(parts), parts[:4:-1], strict=True)]
        gain = (sum(power(one, other) for one, other in said) / sum(power(one, one) for one, _ in said)).clip(0, 1)
    frequency = np.sqrt(sum(np.square(k) for k in np.ix_(*map(scipy.fft.fftfreq, seen[0]["even"].shape))))
    band = np.digitize(frequency[..., : signal.shape[2]], BANDS).ravel()
    errors = np.zeros((3, len(BANDS)))
    for number, (volumes, placed) in enumerate(scenes(preset, SEED + 100, UNSEEN)):
        parts = stack(volumes)
        said = predict(parts)
        for row, one in enumerate((said[0] - parts[0], parts[3] - parts[0], parts[0])):
            errors[row] += np.bincount(band, np.square(np.abs(scipy.fft.rfftn(one))).ravel(), len(BANDS))
        volumes |= {"network": filtered(sum(said), 1 / weight), "wiener": filtered(sum(parts[3:5]), 1 / weight)}
        places = [(one.structure.label, center) for one in placed for center in one.centers_angstrom / voxel]
        for name, (place, (label, center)) in product(volumes, enumerate(places)):
            box = volumes[name][tuple(slice(max(at, 0), at + 64) for at in np.rint(center).astype(int) - 32)]
            if box.shape == (64, 64, 64):
                (given.out / name).mkdir(parents=True, exist_ok=True)
                write_volume(given.out / name / f"{label}-{number}{place:02d}.mrc", box, voxel, simulated=True)
    shares = np.c_[errors[:, 1:], errors.sum(axis=1)]
    print("| cycles per voxel |", " | ".join(f"{low:g} to {high:g}" for low, high in pairwise(BANDS)), "| all |")
    print("|" + "---|" * (len(BANDS) + 1))
    for name, row in zip(("network", "Wiener filter"), shares / shares[2], strict=False):
        print(f"| {name} |", " | ".join(f"{value:.3f}" for value in row), "|")


if __name__ == "__main__":
    main()
