"""What `frazil sample` is asked for: options, labels or a table of them, written out as a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frazil.core.console import say
from frazil.core.errors import RequestError
from frazil.core.settings import NoiseInterval
from frazil.sampling.generator import ParticleGenerator
from frazil.sampling.manifest import RequestRow, SampleRequest, normalised_position
from frazil.sampling.plan import SamplePlan
from frazil.sampling.table import CENTRE, Request, parse_position, read_requests


@dataclass(frozen=True)
class SampleOptions:
    """How to sample; None takes what the bundle or the device suggests.

    Parameters
    ----------
    seed : sample i descends from (seed, i).
    sampler, steps, guidance, guidance_interval, batch_size, precision, memory_format : see `ParticleGenerator.plan`.
    device : see `ParticleGenerator`.
    devices, num_nodes : processes on each node, and nodes; see `frazil.sampling.processes.team`.
    voxel_size_angstrom : only for a bundle that does not know it.
    """

    seed: int = 0
    sampler: str | None = None
    steps: int | None = None
    guidance: float | None = None
    guidance_interval: NoiseInterval | None = None
    batch_size: int | None = None
    precision: str | None = None
    memory_format: str | None = None
    device: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    voxel_size_angstrom: float | None = None


def parse_interval(text: str) -> NoiseInterval:
    """Read ``"lowest,highest"``.

    Raises
    ------
    RequestError : not two numbers.
    """
    try:
        lowest, highest = (float(part) for part in text.split(","))
    except ValueError:
        raise RequestError(f"--guidance-interval {text}: give two noise levels LOWEST,HIGHEST, e.g. 0.3,5") from None
    return lowest, highest


def gather_requests(
    labels: Sequence[str], position: str | None, count: int | None, table: Path | None
) -> list[Request]:
    """Return what the command line asks for: labels that share a position and a count, or a table.

    Parameters
    ----------
    position : ``"x,y,z"``; None is the centre.
    count : of each label; None is 1.
    table : CSV with the columns label, x, y, z, count.

    Raises
    ------
    RequestError : both at once, or a position or a table that cannot be used.
    """
    if table is not None:
        if labels or position is not None or count is not None:
            raise RequestError(f"--requests {table}: leave out --label, --position and --count, the table has them")
        return read_requests(table)
    place = CENTRE if position is None else parse_position(position)
    return [Request(label, place, 1 if count is None else count) for label in labels]


def expand_labels(requests: Sequence[Request], labels: Sequence[str]) -> list[Request]:
    """Replace the label ``all`` by every class.

    Raises
    ------
    RequestError : nothing is asked for.
    """
    if not requests:
        raise RequestError(
            f"nothing is asked for; pass --label (all, {', '.join(labels)}), or --requests with a CSV of them"
        )
    return [
        Request(label, request.position, request.count)
        for request in requests
        for label in (labels if request.label == "all" and "all" not in labels else [request.label])
    ]


def describe_request(generator: ParticleGenerator, plan: SamplePlan) -> SampleRequest:
    """Return what decides the samples of `plan`."""
    return SampleRequest(
        bundle_digest=generator.digest,
        voxel_size_angstrom=generator.voxel_size_angstrom,
        seed=plan.seed,
        sampler=plan.sampler,
        steps=plan.steps,
        guidance=plan.guidance,
        guidance_interval=plan.guidance_interval,
        precision=plan.precision,
        memory_format=plan.compute.memory_format,
        batch_size=plan.batch_size,
        requests=tuple(
            RequestRow(label=request.label, position=normalised_position(request.position), count=request.count)
            for request in plan.requests
        ),
    )


def plan_samples(
    generator: ParticleGenerator,
    requests: Sequence[Request],
    options: SampleOptions,
    there: SampleRequest | None,
    *,
    processes: int,
) -> SamplePlan:
    """Write out what is asked for; what is left to a probe stays as an earlier call in the same folder decided it.

    Parameters
    ----------
    there : of an earlier call; None where there was none.
    processes : that share the memory of this machine.

    Raises
    ------
    RequestError : anything in it that cannot be served.
    """

    def plan(precision: str | None, memory_format: str | None) -> SamplePlan:
        return generator.plan(
            requests,
            seed=options.seed,
            sampler=options.sampler,
            steps=options.steps,
            guidance=options.guidance,
            guidance_interval=options.guidance_interval,
            batch_size=options.batch_size,
            precision=precision,
            memory_format=memory_format,
            processes=processes,
        )

    if there is not None and "auto" in (options.precision, options.memory_format):
        before = plan(
            there.precision if options.precision == "auto" else options.precision,
            there.compute.memory_format if options.memory_format == "auto" else options.memory_format,
        )
        if not there.differences(describe_request(generator, before)):
            return before
    chosen = plan(options.precision, options.memory_format)
    if generator.probed is not None:
        say(str(generator.probed))
    return chosen
