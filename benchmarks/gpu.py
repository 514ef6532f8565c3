"""What one NVIDIA GPU does with frazil, in at most 8 minutes: tables for docs/lab/performance.md.

    python benchmarks/gpu.py [--out gpu.md] [--seconds 480] [--tiny]

Correctness against the CPU; volumes and training boxes a second of presets `paper`, `fast` and `layout` in float32, TF32 and bf16, as
they are, with torch.compile, and with CUDA graphs (torch.compile, reduce-overhead); peak memory; the share of what a matrix product
reaches in the same precision; a tomogram of 184 x 630 x 630. Without a GPU everything runs on the CPU, and the tables say so; --tiny is
for tests. Rows for which no time was left say so.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from frazil.composition.denoise import Denoiser
from frazil.core.presets import load_preset
from frazil.core.records import NULL_LABEL, Condition, Layout
from frazil.core.settings import Precision, SamplingSettings
from frazil.model.compute import Compute
from frazil.model.unet import ConditionalUNet, build_network
from frazil.volume.layout import MORE_PLANES, Painter

CLASSES = 6
PRECISIONS = ("float32", "TF32", "bf16")
MANNERS = ("as it is", "compiled", "CUDA graphs")
CLOSE = {"float32": 1e-4, "bf16": 1e-2}
"""How far from the CPU, relative to the largest voxel; bf16 rounds to three digits."""

EVALUATIONS = (12, 4)
TEMPLATE_VOXEL = 9


def network_of(preset: str) -> ConditionalUNet:
    settings = load_preset(preset).model
    if settings.layout_channels:
        settings = settings.model_copy(update={"layout_template_voxel": TEMPLATE_VOXEL})
    return build_network(settings, CLASSES, generator=torch.Generator().manual_seed(0))


def inputs(
    network: ConditionalUNet, batch: int, box: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, Condition]:
    generator = torch.Generator().manual_seed(batch)
    x = torch.randn(batch, 1, box, box, box, generator=generator)
    layout = None
    if network.layout is not None:
        layout = torch.rand(batch, CLASSES + MORE_PLANES, box, box, box, generator=generator)
    label = torch.arange(batch) % CLASSES if layout is None else torch.full((batch,), NULL_LABEL)
    condition = Condition(label, torch.full((batch, 3), 0.5), layout)
    return x.to(device), torch.full((batch,), 500, device=device), condition.to(device)


def compute_of(precision: str) -> Compute:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "TF32"
    name: Precision = "bf16-mixed" if precision == "bf16" else "32-true"
    return Compute.named(name)


def seconds_of(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Return the median time of `work`, after two warm-ups."""
    taken = []
    for number in range(rounds + 2):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 2:
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def in_manner(network: ConditionalUNet, manner: str) -> Callable[..., torch.Tensor]:
    if manner == "as it is":
        return network
    return torch.compile(network, dynamic=False, mode="reduce-overhead" if manner == "CUDA graphs" else None)


def correctness(device: torch.device, box: int) -> list[str]:
    lines = ["| against float32 on the CPU | float32 | bf16 |", "|---|---|---|"]
    for preset in ("paper", "fast", "layout"):
        cells = []
        network = network_of(preset).eval()
        with torch.inference_mode():
            expected = network(*inputs(network, 2, box, torch.device("cpu")))
        for precision, close in CLOSE.items():
            compute = compute_of(precision)
            moved = compute.lay_out(network_of(preset).eval().to(device))
            with torch.inference_mode(), compute.autocast(device.type):
                found = moved(*inputs(moved, 2, box, device)).float().cpu()
            apart = float((found - expected).abs().max() / expected.abs().max())
            cells.append(f"{apart:.1e} ({'right' if apart < close else 'WRONG'}, below {close:g})")
        lines.append(f"| {preset} | {' | '.join(cells)} |")
    return lines


def peak_teraflops(device: torch.device, precision: str, edge: int) -> float:
    """Return what a matrix product reaches."""
    compute_of(precision)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one, other = (torch.ones(edge, edge, dtype=dtype, device=device) for _ in range(2))
    return 2 * edge**3 / seconds_of(lambda: one @ other, device, 5) / 1e12


def speeds(device: torch.device, *, box: int, batch: int, rounds: int, end: float) -> list[str]:
    lines = [
        f"| preset, precision, how | volumes/s, one evaluation | share of the peak | boxes/s, training | peak GB, batch {batch} |",
        "|---|---|---|---|---|",
    ]
    edge = 8192 if device.type == "cuda" else 512
    peaks = {precision: peak_teraflops(device, precision, edge) for precision in PRECISIONS}
    for preset, precision, manner in product(("paper", "fast", "layout"), PRECISIONS, MANNERS):
        if device.type == "cpu" and (precision == "TF32" or manner != "as it is"):
            continue
        if time.monotonic() > end:
            cells = "no time left | | |"
        else:
            cells = speed(preset, precision, manner, device, box, batch, rounds, peaks[precision])
        lines.append(f"| {preset}, {precision}, {manner} | {cells} |")
    return lines


def speed(
    preset: str, precision: str, manner: str, device: torch.device, box: int, batch: int, rounds: int, peak: float
) -> str:
    """Return a row of the table."""
    compute = compute_of(precision)
    network = compute.lay_out(network_of(preset).to(device))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs(network, 1, box, device))
    given, work = inputs(network, batch, box, device), in_manner(network, manner)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)

    def forward() -> None:
        with torch.inference_mode(), compute.autocast(device.type):
            work(*given)

    def step() -> None:
        with compute.autocast(device.type):
            loss = (work(*given).float() - given[0]).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    try:
        network.eval()
        evaluated = batch / seconds_of(forward, device, rounds)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        network.train()
        trained = batch / seconds_of(step, device, rounds)
    except Exception as fault:  # a compiler that fails is a result
        return f"fails: {str(fault).splitlines()[0][:80]} | | |"
    if device.type == "cpu":
        return f"{evaluated:.1f} | - | {trained:.1f} | -"
    share = evaluated * counter.get_total_flops() / 1e12 / peak
    memory = torch.cuda.max_memory_allocated(device) / 2**30
    return f"{evaluated:.1f} | {share:.0%} | {trained:.1f} | {memory:.1f}"


def tomogram(device: torch.device, shape: tuple[int, int, int], end: float) -> list[str]:
    lines = [f"| tomogram of {' x '.join(map(str, shape))}, layout, bf16 | seconds |", "|---|---|"]
    compute = compute_of("bf16")
    preset = load_preset("layout")
    network = compute.lay_out(network_of("layout").eval().to(device))
    random = np.random.default_rng(0)
    count = max(1, math.prod(shape) // 400_000)
    layout = Layout(
        random.integers(CLASSES, size=count), random.uniform(0, shape, (count, 3)), np.full((count, 3, 3), np.nan)
    )
    painter = Painter(torch.zeros(CLASSES, TEMPLATE_VOXEL, TEMPLATE_VOXEL, TEMPLATE_VOXEL), [8.0] * CLASSES)
    for evaluations in EVALUATIONS:
        if time.monotonic() > end:
            lines.append(f"| {evaluations} evaluations | no time left |")
            continue
        sampling = SamplingSettings(sampler="dpm++", steps=evaluations)
        denoiser = Denoiser(
            network, painter, 2**preset.model.halvings, (-45.0, 45.0), preset.diffusion, sampling, compute, device
        )
        with TemporaryDirectory() as folder:
            start = time.perf_counter()
            denoiser.denoise(layout, shape, Path(folder), seed=0, index=0)
            lines.append(f"| {evaluations} evaluations | {time.perf_counter() - start:.1f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, help="file for the tables; without it they are printed alone")
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--tiny", action="store_true", help="sizes that a test can afford")
    chosen = parser.parse_args()
    end = time.monotonic() + chosen.seconds
    there = torch.cuda.is_available()
    device = torch.device("cuda" if there else "cpu")
    name = torch.cuda.get_device_name(device) if there else "no GPU at hand: this is the CPU"
    box, shape = (16, (32, 32, 48)) if chosen.tiny else (64, (184, 630, 630))
    tables = [
        [f"{name}; PyTorch {torch.__version__}, CUDA {torch.version.cuda or 'none'}; boxes of {box}^3, medians."],
        correctness(device, box),
        speeds(device, box=box, batch=16 if there else 2, rounds=10 if there else 1, end=end - 90),
        tomogram(device, shape if there or chosen.tiny else (64, 128, 128), end),
    ]
    text = "\n\n".join("\n".join(table) for table in tables) + "\n"
    print(text)
    if chosen.out:
        chosen.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
