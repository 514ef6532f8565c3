"""What a voxel costs in boxes of 32^3 to 128^3, and what memory they take: tables for docs/lab/performance.md.

    python benchmarks/boxes.py [--rounds 5] [--edges 32,48,64,96,128]

The fast preset's network, in bf16, with about as many voxels a batch for every edge (128^3, so 64 boxes of 32^3 and one of 128^3); with
gradients a quarter of them. Round by round in one process, so that all see the same machine; medians of seconds by the clock and of CPU
time, per million voxels and as a ratio to the middle edge, beside the floating-point operations of a voxel. Peak memory of training steps
with checkpointed activations, and of sampling one volume, each in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from frazil.core.memory import keep_freed_memory, own_process
from frazil.core.presets import load_preset
from frazil.core.records import Condition
from frazil.core.settings import DiffusionSettings, SamplingSettings
from frazil.diffusion.sampler import sample_volumes
from frazil.model.compute import Compute
from frazil.model.unet import ConditionalUNet, build_network

CLASSES = 6
VOXELS = 128**3
NETWORK = load_preset("fast").model
BF16 = Compute.named("bf16-mixed")


@dataclass
class Edge:
    """A box, and what was measured with it: seconds by the clock and of CPU time, per million voxels."""

    voxel: int
    flop: float = 0.0
    measured: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {"forward": [], "training": []})

    def boxes(self, kind: str) -> int:
        return max(1, round((VOXELS if kind == "forward" else VOXELS / 4) / self.voxel**3))


def make_network() -> ConditionalUNet:
    return BF16.lay_out(build_network(NETWORK, CLASSES, DiffusionSettings()))


def inputs(boxes: int, edge: int) -> tuple[torch.Tensor, torch.Tensor, Condition]:
    x = torch.randn((boxes, 1, edge, edge, edge), generator=torch.Generator().manual_seed(boxes))
    return x, torch.full((boxes,), 500), Condition(torch.arange(boxes) % CLASSES, torch.full((boxes, 3), 0.5))


def forward(network: ConditionalUNet, boxes: int, edge: int) -> None:
    with torch.no_grad(), BF16.autocast("cpu"):
        network(*inputs(boxes, edge))


def training(network: ConditionalUNet, boxes: int, edge: int) -> None:
    x, t, condition = inputs(boxes, edge)
    with BF16.autocast("cpu"):
        loss = (network(x, t, condition) - x).square().mean()
    loss.backward()
    network.zero_grad(set_to_none=True)


def timed(
    work: Callable[[ConditionalUNet, int, int], None], network: ConditionalUNet, boxes: int, edge: int
) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work(network, boxes, edge)
    millions = boxes * edge**3 / 1e6
    return (time.perf_counter() - wall) / millions, (time.process_time() - cpu) / millions


def flop_per_voxel(network: ConditionalUNet, edge: int) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*inputs(2, edge))  # a lone small box goes as one of a pair (frazil.model.steady)
    return counter.get_total_flops() / 2 / edge**3


def print_costs(edges: list[Edge], rounds: int) -> None:
    network = make_network()
    works = {"forward": forward, "training": training}
    for edge in edges:
        edge.flop = flop_per_voxel(network, edge.voxel)
        for work in works.values():
            work(network, 1, edge.voxel)
    for _ in range(rounds):
        for kind, work in works.items():
            for edge in edges:
                edge.measured[kind].append(timed(work, network, edge.boxes(kind), edge.voxel))
    print("| box | FLOP a voxel | forward: boxes a batch | s a million voxels | CPU s | ratio | training: boxes a batch "
          "| s a million voxels | CPU s | ratio |\n" + "|---" * 10 + "|")  # fmt: skip
    middle = next((edge for edge in edges if edge.voxel == 64), edges[len(edges) // 2])
    for edge in edges:
        cells = [f"{edge.voxel}^3", f"{edge.flop:,.0f}"]
        for kind in works:
            wall, cpu = (statistics.median(column) for column in zip(*edge.measured[kind], strict=True))
            pairs = zip(edge.measured[kind], middle.measured[kind], strict=True)
            ratio = statistics.median(one[1] / other[1] for one, other in pairs)
            cells += [str(edge.boxes(kind)), f"{wall:.3f}", f"{cpu:.3f}", f"{ratio:.2f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def peak(kind: str, edge: int) -> None:
    """Work in this process, and print its peak memory in GiB; freed memory is kept, which takes the most."""
    own_process()
    keep_freed_memory(0, 1)
    network = make_network()
    if kind == "training":
        network.checkpoint_activations = True
        optimizer = torch.optim.Adam(network.parameters())
        x, t, condition = inputs(1, edge)
        for _ in range(3):
            with BF16.autocast("cpu"):
                loss = (network(x, t, condition) - x).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    else:
        sample_volumes(
            network.eval(), Condition(torch.tensor([0]), torch.full((1, 3), 0.5)), box_size_voxel=edge,
            generators=[np.random.default_rng(0)], settings=DiffusionSettings(), sampling=SamplingSettings(sampler="dpm++", steps=20),
            precision="bf16-mixed",
        )  # fmt: skip
    found = re.search(
        r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()
    )  # not getrusage, which a parent colors
    assert found is not None
    print(int(found.group(1)) / 2**20)


def peak_gib(kind: str, edge: int) -> tuple[float, float]:
    """Return the peak memory of a process and its seconds."""
    command = [sys.executable, __file__, "--peak", kind, "--edges", str(edge)]
    began = time.perf_counter()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(output), time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--edges", default="32,48,64,96,128")
    parser.add_argument("--times-only", action="store_true")
    parser.add_argument("--peak", choices=["training", "sampling"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    edges = [Edge(int(edge)) for edge in arguments.edges.split(",")]
    if arguments.peak:
        peak(arguments.peak, edges[0].voxel)
        return
    own_process()
    keep_freed_memory(0, 1)
    print(f"PyTorch {torch.__version__}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, bf16, "
          f"median of {arguments.rounds} rounds, load {os.getloadavg()[0]:.1f} before\n", flush=True)  # fmt: skip
    print_costs(edges, arguments.rounds)
    if arguments.times_only:
        return
    print(f"\nload {os.getloadavg()[0]:.1f} after\n\n| box | three training steps, batch 1, GiB | s | one volume, 20 steps, GiB | s |\n"
          "|---|---|---|---|---|")  # fmt: skip
    for edge in edges:
        cells = [f"{value:.2f}" for kind in ("training", "sampling") for value in peak_gib(kind, edge.voxel)]
        print(f"| {edge.voxel}^3 | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
