"""How far the variance of sampled voxel noise is off, by sampler and steps: the table in docs/lab/performance.md.

    python benchmarks/samplers.py [--steps 10 15 20 30 50]

The data are independent voxels N(0, std^2), whose best denoiser is known. Every sampler is then linear in the noise that it
draws, so the variance of what it makes is computed exactly, from the weights of the draws: nothing here is a measurement, and
no machine gives other numbers.
"""

from __future__ import annotations

import argparse
from typing import get_args

import numpy as np
import torch

from frazil.core.settings import DiffusionSettings, SamplerName
from frazil.diffusion.schedule import make_solver

STDS = (0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 18.0)


def variance_errors(sampler: SamplerName, steps: int) -> np.ndarray:
    """Return the error of the variance for each of `STDS`, in percent."""
    solver = make_solver(sampler, DiffusionSettings(), steps)
    variance = torch.tensor(STDS, dtype=torch.float64)[:, None].square()
    weights = torch.zeros(len(STDS), steps + 1)
    weights[:, 0] = 1  # of the first noise; the others are those of each step
    for place, sigma in enumerate(solver.sigmas.tolist(), start=1):
        signal = (1 + sigma**2) ** -0.5
        gain = signal * variance / (signal**2 * variance + 1 - signal**2)
        drawn = torch.zeros_like(weights)
        drawn[:, place] = 1
        weights = solver.step(weights * gain.float(), weights, drawn if solver.draws_noise else None)
    return 100 * (weights.double().square().sum(dim=1, keepdim=True) / variance - 1).numpy()[:, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="*", default=[10, 15, 20, 30, 50])
    counts = parser.parse_args().steps
    print("| sampler | steps | " + " | ".join(f"{std:g}" for std in STDS) + " |")
    print("|---" * (len(STDS) + 2) + "|")
    for sampler in get_args(SamplerName):
        for steps in counts + [1000] * (sampler == "ddpm"):
            errors = variance_errors(sampler, steps)
            print(f"| {sampler} | {steps} | " + " | ".join(f"{error:+.1f}" for error in errors) + " |")


if __name__ == "__main__":
    main()
