"""The fastest way of computing a network on this machine, found in about a second."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from frazil.core.records import Condition
from frazil.model.compute import Compute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from frazil.core.settings import MemoryFormat, Precision, PrecisionChoice
    from frazil.model.unet import ConditionalUNet

_SECONDS = 1.0
_ROUNDS = 10
_EDGE_VOXEL = 32
"""Largest box that is timed, at the network's finest level: larger ones take longer and say the same."""

_CLEARLY = 0.9
"""Another way must take less than this share of the plainest one's time, or two runs might decide differently."""

_PRECISIONS: tuple[Precision, ...] = ("32-true", "bf16-mixed")


@dataclass(frozen=True)
class Probe:
    """What was timed, and what was chosen.

    Parameters
    ----------
    chosen : the fastest, or the plainest one if nothing is clearly faster.
    seconds : per box, by candidate, the plainest first. CPU time of one thread on a CPU, so that load does not change the decision.
    box_size_voxel : edge of the box that was timed.
    gradients : a pass with gradients was timed, as in training.
    """

    chosen: Compute
    seconds: dict[Compute, float]
    box_size_voxel: int
    gradients: bool

    def __str__(self) -> str:
        timed = ", ".join(f"{candidate} {seconds:.3f} s" for candidate, seconds in self.seconds.items())
        what = "pass with gradients" if self.gradients else "pass"
        return f"{self.chosen}, the fastest here: {timed} a {what} of one box of {self.box_size_voxel} voxels"


def candidates(
    precision: PrecisionChoice, memory_format: MemoryFormat | None, *, kept: Compute | None = None
) -> tuple[Compute, ...]:
    """Return the ways of computing that a choice leaves open, the plainest first; only one if it leaves nothing open.

    Parameters
    ----------
    precision : ``auto`` is open.
    memory_format : None is what suits the precision.
    kept : what was decided before; replaces ``auto``.
    """
    if precision != "auto":
        return (Compute.named(precision, memory_format),)
    return tuple(Compute.named(one, memory_format) for one in ((kept.precision,) if kept else _PRECISIONS))


def probe(
    network: ConditionalUNet,
    among: Sequence[Compute],
    *,
    box_size_voxel: int,
    device: torch.device | str,
    gradients: bool,
    clock: Callable[[], float] | None = None,
) -> Probe:
    """Time a network in every way of `among` and choose one.

    Parameters
    ----------
    network : is left on `device`, in any memory format, without gradients.
    among : the plainest first.
    box_size_voxel : of the boxes to come; the timed one is no larger, and no larger than a second allows.
    gradients : time a pass with gradients.
    clock : in seconds; None is CPU time of one thread on a CPU, elsewhere the time until the work is done.
    """
    device = torch.device(device)
    clock = clock or _clock(device)
    edge = _edge(network, box_size_voxel)
    network = network.to(device)
    x = torch.randn((1, 1, edge, edge, edge), generator=torch.Generator().manual_seed(0)).to(device)
    t = torch.tensor([min(500, len(network.schedule) - 1)]).to(device)
    condition = Condition(torch.tensor([0]), torch.full((1, 3), 0.5)).to(device)

    def once(compute: Compute) -> float:
        compute.lay_out(network)
        began = clock()
        with torch.set_grad_enabled(gradients), compute.autocast(device.type):
            predicted = network(x, t, condition)
        if gradients:
            predicted.float().square().mean().backward()
            network.zero_grad(set_to_none=True)
        return clock() - began

    with _one_thread():
        warm = {compute: once(compute) for compute in among}  # the first pass also chooses kernels
        rounds = min(_ROUNDS, int(_SECONDS // max(sum(warm.values()), 1e-9)))
        timed = {compute: [warm[compute]] if not rounds else [] for compute in among}
        for _ in range(rounds):
            for compute in among:  # in turn, so that all see the same machine
                timed[compute].append(once(compute))
    seconds = {compute: min(times) for compute, times in timed.items()}
    fastest = min(seconds, key=lambda compute: seconds[compute])
    plainest = next(iter(seconds))
    chosen = fastest if seconds[fastest] < _CLEARLY * seconds[plainest] else plainest
    return Probe(chosen, seconds, edge, gradients)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: on a busy machine, threads burn CPU time waiting for each other, and chance would decide."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _edge(network: ConditionalUNet, box_size_voxel: int) -> int:
    settings = network.settings
    multiple = 2**settings.halvings
    most = _EDGE_VOXEL * (1 if settings.front_end == "none" else 2)
    return int(min(box_size_voxel, max(multiple, most // multiple * multiple)))


def _clock(device: torch.device) -> Callable[[], float]:
    if device.type == "cpu":
        return time.process_time

    def when_done() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return when_done
