"""The stages of an evaluation: each is run once, kept on disk, and says what it cost."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from rich.progress import Progress

from frazil.core.records import TiltRange
from frazil.evaluation.metrics.embeddings import Embedding, Remembered, fixed_embeddings
from frazil.evaluation.records import StageRecord, read_stage, write_stage
from frazil.evaluation.scores import Stage
from frazil.evaluation.stages.embedding import LearnedEmbedding
from frazil.evaluation.volumes import Section, Sets


@dataclass
class Material:
    """What a stage may look at.

    Parameters
    ----------
    sets : the volumes.
    tilt_range_degrees : of the tomograms, None where it is not known.
    learned : the embedding that is trained on the training boxes.
    quick : where a stage can, it shall take a quarter of the time and say less.
    """

    sets: Sets
    tilt_range_degrees: TiltRange | None
    learned: LearnedEmbedding
    quick: bool = False

    @cached_property
    def embeddings(self) -> dict[str, Embedding]:
        """The learned embedding and those that no training has touched, by name; none embeds a volume twice."""
        found: dict[str, Embedding] = {"learned": self.learned, **fixed_embeddings()}
        return {name: Remembered(embedding) for name, embedding in found.items()}


@dataclass(frozen=True)
class Room:
    """A part of the evaluation.

    Parameters
    ----------
    run : takes the material and a function that is told the share done; returns what was found.
    learned : whether it needs the learned embedding.
    has_quick : whether it has a quick way; what it finds so counts only until it is run in full.
    """

    run: Callable[[Material, Callable[[float], None]], Section]
    learned: bool = False
    has_quick: bool = False


@dataclass
class Meter:
    """Seconds and peak memory of what runs inside its blocks."""

    costs: list[Stage] = field(default_factory=list)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Measure the block; memory is that of the whole process, at its highest."""
        _forget_peak()
        start = time.monotonic()
        yield
        seconds = time.monotonic() - start
        self.costs.append(Stage(name=name, seconds=round(seconds, 2), peak_memory_gb=round(peak_memory_gb(), 3)))


def kept_stage(out: Path, name: str, input_digest: str) -> StageRecord | None:
    """Return what the stage found, in full or quickly; None if it has not been finished for this input.

    Raises
    ------
    SourceError : a newer frazil wrote it, or it is damaged.
    """
    record = read_stage(out, name)
    return record if record is not None and record.input_digest == input_digest else None


def run_stage(out: Path, name: str, room: Room, material: Material, *, input_digest: str, bar: Progress) -> StageRecord:
    """Run a stage and keep what it found.

    Parameters
    ----------
    input_digest : of everything that decides what it finds.
    bar : gets a line, and a second one if the embedding has to be learned.
    """
    meter = Meter()
    if room.learned and not material.learned.find():
        with meter.of("embedding"), _line(bar, "learning the embedding") as tell:
            material.learned.learn(material.sets, tell)
    with meter.of(name), _line(bar, name) as tell:
        section = room.run(material, tell)
    record = to_record(section, input_digest, tuple(meter.costs), quick=material.quick and room.has_quick)
    write_stage(out, name, record)
    return record


@contextmanager
def _line(bar: Progress, text: str) -> Iterator[Callable[[float], None]]:
    """Add a line to the bar; yield the function that is told the share done."""
    task = bar.add_task(text, total=1.0)
    yield lambda share: bar.update(task, completed=min(share, 1.0))
    bar.update(task, completed=1.0)


def to_record(section: Section, input_digest: str, costs: tuple[Stage, ...], *, quick: bool = False) -> StageRecord:
    """Return what is written of a section."""
    return StageRecord(
        input_digest=input_digest,
        quick=quick,
        scores=section.scores,
        plots=section.plots,
        close_pairs=section.close_pairs,
        warnings=section.warnings,
        per_sample={
            name: tuple(float(value) if math.isfinite(value) else None for value in np.asarray(values))
            for name, values in section.per_sample.items()
        },
        costs=costs,
    )


def peak_memory_gb() -> float:
    """Return the highest memory of this process, since `_forget_peak` where the system can forget (Linux)."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e9
    except OSError:  # no Linux
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _forget_peak() -> None:
    with suppress(OSError):  # not allowed, or no Linux: then it is the peak since the start
        Path("/proc/self/clear_refs").write_text("5")
