"""How fast networks generate and train at 64^3, each as a ratio to the paper's plain implementation: tables for docs/lab/performance.md.

    python benchmarks/network.py [--rounds 5] [--box 64]

In one process, round by round, so that all see the same machine; medians, with the load. (a) plain: the paper's network in float32,
default layout, batch 1, 1,000 ancestral steps (the time of a step times 1,000). (b) MONAI's DiffusionModelUNet of the same channels,
if MONAI is installed. (c) frazil's paper preset. (d) frazil's fast preset, at three widths. Sampling also pays for the steps of the
solver, which are left out: they are below a thousandth of a pass of the paper's network.

(c) and (d) have the memory allocator as `frazil train` and `frazil sample` set it, (a) and (b) as glibc has it after its first large
blocks; --default-allocator leaves all of them that.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from frazil.core.memory import keep_freed_memory, own_process
from frazil.core.presets import load_preset
from frazil.core.records import Condition
from frazil.core.settings import DiffusionSettings, ModelSettings
from frazil.model.unet import build_network

CLASSES = 6
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of glibc's malloc.h
FAST = load_preset("fast").model.model_dump()


@dataclass(frozen=True)
class Variant:
    """What is timed: a network, its precision, the volumes of a batch, and the steps of a sample."""

    name: str
    make: Callable[[], torch.nn.Module]
    bf16: bool
    batch: int
    training_batch: int
    steps: int


def ours(**settings: object) -> Callable[[], torch.nn.Module]:
    return lambda: build_network(
        ModelSettings.model_validate(settings), CLASSES, DiffusionSettings(), generator=torch.Generator().manual_seed(0)
    )


class Monai(torch.nn.Module):
    """MONAI's network with the condition as class labels, called as ours is."""

    def __init__(self) -> None:
        super().__init__()
        from monai.networks.nets import DiffusionModelUNet

        self.network = DiffusionModelUNet(
            spatial_dims=3, in_channels=1, out_channels=1, channels=(32, 64, 128), attention_levels=(False,) * 3,
            num_res_blocks=1, norm_num_groups=8, num_class_embeds=CLASSES,
        )  # fmt: skip

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        return self.network(x, timesteps=t, class_labels=condition.label)


def variants() -> list[Variant]:
    found = [
        Variant("(a) plain: paper network, float32, batch 1, 1,000 steps", ours(conditioning="sum"), False, 1, 1, 1000)
    ]
    try:
        import monai  # noqa: F401

        found.append(Variant("(b) MONAI DiffusionModelUNet, float32, 20 steps", Monai, False, 1, 1, 20))
    except ImportError:
        print("MONAI is not installed: (b) is left out\n", file=sys.stderr)
    found.append(Variant("(c) paper, bf16, 20 steps", ours(), True, 1, 2, 20))
    steps = load_preset("fast").sampling.steps
    assert steps is not None
    found += [
        Variant(
            f"(d) fast, {base} channels, bf16, {steps} steps",
            ours(**FAST | {"base_channels": base}),
            True,
            8,
            16,
            steps,
        )
        for base in (32, 48, 64)
    ]
    return found


def inputs(batch: int, box: int, layout: torch.memory_format) -> tuple[torch.Tensor, torch.Tensor, Condition]:
    generator = torch.Generator().manual_seed(batch)
    x = torch.randn(batch, 1, box, box, box, generator=generator).to(memory_format=layout)
    return x, torch.full((batch,), 500), Condition(torch.arange(batch) % CLASSES, torch.full((batch, 3), 0.5))


def set_allocator(*, ours: bool) -> None:
    """Let glibc keep freed memory, as frazil does, or give it back, as it does after its first large blocks."""
    if ours:
        own_process()
        keep_freed_memory(0, 1)
        return
    libc = ctypes.CDLL("libc.so.6")
    for option, value in ((M_MMAP_MAX, 65536), (M_MMAP_THRESHOLD, 32 * 2**20), (M_TRIM_THRESHOLD, 64 * 2**20)):
        libc.mallopt(option, value)
    libc.malloc_trim(0)


class Timed:
    """One variant, warmed up; a forward pass and a training step give seconds for each volume."""

    def __init__(self, variant: Variant, box: int) -> None:
        self.variant, self.box = variant, box
        self.layout = torch.channels_last_3d if variant.bf16 else torch.contiguous_format
        self.network = variant.make().to(memory_format=self.layout)
        self.forward()

    def forward(self) -> float:
        self.network.eval()
        x, t, condition = inputs(self.variant.batch, self.box, self.layout)
        start = time.perf_counter()
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.variant.bf16):
            self.network(x, t, condition)
        return (time.perf_counter() - start) / self.variant.batch

    def train(self) -> float:
        self.network.train()
        optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4)
        x, t, condition = inputs(self.variant.training_batch, self.box, self.layout)
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.variant.bf16):
            loss = (self.network(x, t, condition).float() - x).square().mean()
        loss.backward()
        optimizer.step()
        seconds = time.perf_counter() - start
        optimizer.zero_grad(set_to_none=True)
        return seconds / self.variant.training_batch


def gigaflop(variant: Variant, box: int) -> float:
    """Return the floating-point operations of one volume's forward pass, counted, in 1e9."""
    network = variant.make().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs(1, box, torch.contiguous_format))
    return counter.get_total_flops() / 1e9


def matrix_gigaflops(dtype: torch.dtype, edge: int = 2048) -> float:
    """Return how many 1e9 operations a second a matrix product of `dtype` does here: what a network could at most."""
    one, other = torch.ones(edge, edge, dtype=dtype), torch.ones(edge, edge, dtype=dtype)
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        one @ other
        seconds.append(time.perf_counter() - start)
    return 2 * edge**3 / statistics.median(seconds) / 1e9


def peak_gb(name: str, batch: int, box: int) -> float:
    """Return the peak memory of a training step in a fresh process, PyTorch itself included."""
    command = [sys.executable, __file__, "--peak", name, "--batch", str(batch), "--box", str(box)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--box", type=int, default=64)
    parser.add_argument("--memory-only", action="store_true")
    parser.add_argument("--times-only", action="store_true")
    parser.add_argument("--default-allocator", action="store_true")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    every = variants()
    if arguments.peak:
        variant = next(one for one in every if one.name == arguments.peak)
        chosen = Variant(variant.name, variant.make, variant.bf16, 1, arguments.batch, variant.steps)
        timed = Timed(chosen, arguments.box)
        timed.train()
        timed.train()
        # not getrusage, whose peak a child takes over from its parent
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert peak is not None
        print(int(peak.group(1)) / 1024**2)
        return
    if not arguments.memory_only:
        print_times(every, arguments.rounds, arguments.box, switching=not arguments.default_allocator)
    if arguments.times_only:
        return
    print("\n| peak memory of a training step | batch | GB |\n|---|---|---|")
    for variant in every:
        for batch in (1, 4, 16) if not variant.bf16 else (4, 16):
            if variant.name.startswith(("(a)", "(d)")):
                name = variant.name.split(",")[0]
                print(f"| {name} | {batch} | {peak_gb(variant.name, batch, arguments.box):.2f} |", flush=True)


def print_times(every: list[Variant], rounds: int, box: int, *, switching: bool) -> None:
    """Print seconds, ratios and volumes an hour of all variants.

    Parameters
    ----------
    switching : the allocator follows the variant.
    """
    print(f"PyTorch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
          f"box {box}^3, median of {rounds} rounds, load {os.getloadavg()[0]:.1f} before", flush=True)  # fmt: skip
    timed = [Timed(variant, box) for variant in every]
    work = [gigaflop(variant, box) for variant in every]
    peaks = {bf16: matrix_gigaflops(torch.bfloat16 if bf16 else torch.float32) for bf16 in (False, True)}
    print(f"matrix products of 2048^2: {peaks[False]:.0f} GFLOP/s in float32, {peaks[True]:.0f} in bf16")
    forward: list[list[float]] = [[] for _ in every]
    training: list[list[float]] = [[] for _ in every]
    for record, step in ((forward, Timed.forward), (training, Timed.train)):
        for _ in range(rounds):
            for place, one in enumerate(timed):
                if switching:
                    set_allocator(ours=one.variant.name.startswith(("(c)", "(d)")))
                    step(one)  # fills what the allocator keeps
                record[place].append(step(one))
    print(f"load {os.getloadavg()[0]:.1f} after\n")
    print(
        "| | GFLOP | forward, s a volume | ratio | of the peak | volumes an hour | ratio | training, s a volume | ratio |\n"
        + "|---" * 9
        + "|"
    )
    for place, variant in enumerate(every):
        seconds, steps = statistics.median(forward[place]), statistics.median(training[place])
        pairs = [one / other for one, other in zip(forward[0], forward[place], strict=True)]
        ratio = statistics.median(pairs)
        train_ratio = statistics.median(one / other for one, other in zip(training[0], training[place], strict=True))
        hour = 3600 / (seconds * variant.steps)
        cells = [variant.name, f"{work[place]:.1f}", f"{seconds:.3f}", f"{ratio:.1f}",
                 f"{work[place] / seconds / peaks[variant.bf16]:.0%}", f"{hour:,.1f}", f"{ratio * 1000 / variant.steps:,.0f}",
                 f"{steps:.3f}", f"{train_ratio:.1f}"]  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
