"""Volumes an hour with a student of few evaluations, as a ratio to the paper's plain implementation (docs/lab/performance.md).

    python benchmarks/student.py [--rounds 7]

One pass of each network at 64^3, in turn, so that all see the same machine; medians of the pairs. The reference is (a) of `network.py`,
with glibc's allocator and, for comparison, with frazil's. The bundled student reads its layout once for a volume.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import torch

from frazil.core.records import NULL_LABEL, Condition
from frazil.model.bundle import PRETRAINED, bundle_folder, load_bundle
from frazil.model.compute import Compute
from network import FAST, ours, set_allocator

BATCH = 8
EVALUATIONS = (12, 4, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    compute = Compute.native("cpu")
    plain, fast = ours(conditioning="sum")().eval(), compute.lay_out(ours(**FAST)().eval())
    student = compute.lay_out(load_bundle(bundle_folder(Path(PRETRAINED))).network.eval())
    assert student.layout is not None
    planes = torch.rand(BATCH, student.layout.conv1.in_channels - student.settings.bands, 64, 64, 64)
    told = Condition(
        torch.full((BATCH,), NULL_LABEL),
        torch.full((BATCH, 3), torch.nan),
        planes,
        torch.tensor([[-45.0, 45.0]] * BATCH),
    )
    boxes = Condition(torch.zeros(BATCH, dtype=torch.int64), torch.full((BATCH, 3), 0.5))
    x, t = torch.randn(BATCH, 1, 64, 64, 64), torch.full((BATCH,), 500)
    with torch.no_grad(), compute.autocast("cpu"):
        read = student.read(told)

    def seconds(what: str) -> float:
        set_allocator(ours=what != "plain")
        count = 1 if what.startswith("plain") else BATCH
        for _ in range(2):  # the first fills what the allocator keeps
            begun = time.perf_counter()
            if count == 1:
                plain(x[:1], t[:1], boxes[:1])
            else:
                with compute.autocast("cpu"):
                    match what:
                        case "fast":
                            fast(x, t, boxes)
                        case "layout":
                            student(x, t, read)
                        case "reading":
                            student.read(told)
            taken = time.perf_counter() - begun
        return taken / count

    print(f"load {os.getloadavg()[0]:.1f}, {torch.get_num_threads()} threads, {compute.precision}, {rounds} rounds")
    names = ("plain", "plain, kept memory", "fast", "layout", "reading")
    with torch.no_grad():
        every = [{name: seconds(name) for name in names} for _ in range(rounds)]
    print({name: round(statistics.median(one[name] for one in every), 4) for name in names}, "seconds a volume")
    for reference in names[:2]:
        for count in EVALUATIONS:
            of_boxes = statistics.median(1000 * one[reference] / (count * one["fast"]) for one in every)
            of_layouts = statistics.median(
                1000 * one[reference] / (count * one["layout"] + one["reading"]) for one in every
            )
            print(f"| {reference} | {count} | {of_boxes:,.0f} | {of_layouts:,.0f} |")


if __name__ == "__main__":
    main()
