"""What is to be sampled, written out sample by sample: a pure function of the request, whatever computes it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from frazil.core.errors import RequestError
from frazil.core.settings import MemoryFormat, NoiseInterval, Precision, SamplerName
from frazil.model.compute import Compute
from frazil.sampling.table import Position, Request


def check_request(request: Request, known: Sequence[str]) -> None:
    """Refuse what no bundle, or not this bundle, can serve.

    Parameters
    ----------
    known : class names of the bundle.

    Raises
    ------
    RequestError : unknown label, position outside [0, 1], count below 1.
    """
    if request.label not in known:
        raise RequestError(f"label {request.label!r}: the bundle does not know it; it knows {', '.join(known)}")
    for axis, value in zip("zyx", request.position, strict=True):
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise RequestError(
                f"position {axis} = {value:g} of {request.label}: the bundle knows positions from 0 to 1 "
                "(the centre divided by the tomogram's extent); choose one within"
            )
    if request.count < 1:
        raise RequestError(f"count {request.count} of {request.label}: ask for at least 1 sample")


def choose(known: Any, what: str, name: str) -> Any:
    """Return `name` if it is one of the words of the literal type `known`.

    Raises
    ------
    RequestError : it is not.
    """
    words = get_args(known)
    if name not in words:
        listed = " or ".join(words) if len(words) == 2 else ", ".join(words)
        raise RequestError(f"{what} {name!r} is not known; choose {listed}")
    return name


def check_guidance(guidance: float, interval: NoiseInterval | None, *, trained: bool) -> None:
    """Refuse guidance that is none, or that the bundle cannot give.

    Parameters
    ----------
    guidance : scale; 1 is no guidance.
    interval : lowest and highest noise level that is guided; None is all.
    trained : labels were hidden from the network in training.

    Raises
    ------
    RequestError : a negative scale, a reversed interval, an interval of nothing, or a network that always saw the label.
    """
    if not (math.isfinite(guidance) and guidance >= 0):
        raise RequestError(f"guidance {guidance:g}: choose 1 (none), more than 1, or 0 to ignore the label")
    if interval is not None:
        lowest, highest = interval
        if not 0 <= lowest < highest:
            raise RequestError(
                f"guidance interval {lowest:g},{highest:g}: name the lower noise level first, then the higher, from 0 up"
            )
        if guidance == 1:
            raise RequestError(
                f"guidance interval {lowest:g},{highest:g}: guidance 1 is none; pass --guidance, e.g. 1.5, or leave it out"
            )
    if guidance != 1 and not trained:
        raise RequestError(
            f"guidance {guidance:g}: the bundle was trained with every label shown, so it cannot predict without one; "
            "leave guidance out, or train with --set training.class_dropout=0.1"
        )


@dataclass(frozen=True)
class SamplePlan:
    """All samples of a request, numbered from 0 in the order of the request, and how they are computed.

    Sample i has the same noise in every plan of the same seed. The batches are cut by index alone, so that a run that
    was interrupted computes the same batches again; off the CPU they decide how a sample is rounded.

    Parameters
    ----------
    requests : already checked.
    seed : sample i descends from (seed, i).
    sampler, steps, guidance, guidance_interval : how noise becomes a volume, see `frazil.diffusion.sampler.sample_volumes`.
    batch_size : samples that are computed at once.
    precision : of the network; volumes and steps are float32.
    memory_format : of the network; None is what suits the precision.
    first : number of the first sample.
    """

    requests: tuple[Request, ...]
    seed: int
    sampler: SamplerName
    steps: int
    batch_size: int
    precision: Precision = "32-true"
    memory_format: MemoryFormat | None = None
    first: int = 0
    guidance: float = 1.0
    guidance_interval: NoiseInterval | None = None

    @property
    def compute(self) -> Compute:
        """How the network is computed."""
        return Compute.named(self.precision, self.memory_format)

    def __len__(self) -> int:
        return sum(request.count for request in self.requests)

    def samples(self) -> list[tuple[int, str, Position]]:
        """Return index, label and position of every sample."""
        flat = ((request.label, request.position) for request in self.requests for _ in range(request.count))
        return [(index, label, position) for index, (label, position) in enumerate(flat, start=self.first)]

    def batches(
        self, finished: Iterable[int] = (), *, rank: int = 0, size: int = 1
    ) -> list[list[tuple[int, str, Position]]]:
        """Return the samples that are computed together, batch by batch.

        Parameters
        ----------
        finished : indices that need not be computed again; a batch is left out where all of it is finished.
        rank, size : the batches of process `rank` among `size`, which deal them out one by one.
        """
        samples, done = self.samples(), set(finished)
        cut = [samples[start : start + self.batch_size] for start in range(0, len(samples), self.batch_size)]
        return [batch for batch in cut if any(index not in done for index, _, _ in batch)][rank::size]
