"""What is to be sampled, written out sample by sample: a pure function of the request, whatever computes it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from frazil.errors import RequestError
from frazil.io.requests import Position, Request
from frazil.settings import Precision, SamplerName


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


@dataclass(frozen=True)
class SamplePlan:
    """All samples of a request, numbered from 0 in the order of the request, and how they are computed.

    Sample i has the same noise in every plan of the same seed. The batches are cut by index alone, so that a run that
    was interrupted computes the same batches again; off the CPU they decide how a sample is rounded.

    Parameters
    ----------
    requests : already checked.
    seed : sample i descends from (seed, i).
    sampler, steps : how noise becomes a volume; `steps` network evaluations a sample.
    batch_size : samples that are computed at once.
    precision : of the network; volumes and steps are float32.
    first : number of the first sample.
    """

    requests: tuple[Request, ...]
    seed: int
    sampler: SamplerName
    steps: int
    batch_size: int
    precision: Precision = "32-true"
    first: int = 0

    def __len__(self) -> int:
        return sum(request.count for request in self.requests)

    def samples(self) -> list[tuple[int, str, Position]]:
        """Return index, label and position of every sample."""
        flat = ((request.label, request.position) for request in self.requests for _ in range(request.count))
        return [(index, label, position) for index, (label, position) in enumerate(flat, start=self.first)]

    def batches(self, finished: Iterable[int] = ()) -> list[list[tuple[int, str, Position]]]:
        """Return the samples that are computed together, batch by batch.

        Parameters
        ----------
        finished : indices that need not be computed again; a batch is left out where all of it is finished.
        """
        samples, done = self.samples(), set(finished)
        cut = [samples[start : start + self.batch_size] for start in range(0, len(samples), self.batch_size)]
        return [batch for batch in cut if any(index not in done for index, _, _ in batch)]
