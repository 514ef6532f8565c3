"""What an evaluation found: the schema of ``metrics.json``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import Field

from frazil.core.documents import Document
from frazil.core.settings import Settings

Question = Literal["realistic", "near real data", "varied", "new", "right class", "useful"]
QUESTIONS: tuple[Question, ...] = ("realistic", "near real data", "varied", "new", "right class", "useful")

TrainedOn = Literal["these boxes", "other boxes", "unknown"]
"""What a generator was trained on: the training boxes that it is compared with, others, or not known."""

Better = Literal["lower", "higher", "as real"]
"""Which way is good: ``as real`` where the value of real volumes is the aim, from either side."""

Interval = tuple[float, float]

LineName = Literal["generated", "real held-out", "real training", "real slices", "noise"]


def known(values: Iterable[float]) -> tuple[float | None, ...]:
    """Return numbers as they are written: JSON has neither NaN nor infinity, so they become None."""
    return tuple(float(value) if math.isfinite(value) else None for value in values)


class Score(Settings):
    """One number, and its baselines.

    Parameters
    ----------
    name : for machines, snake_case, with its unit where it has one: ``spectrum_xy_dex``.
    title : for people.
    question : the one that it helps to answer.
    label : class; None for all classes together.
    unit : ``dex``, ``voxel``, ``%``, or empty.
    value : of the generated volumes; None where it was not measured.
    interval : 95 %, bootstrap over samples or spread over seeds (the note says which).
    real : the same number for real training volumes, at the same count: what is within reach.
    real_interval : 95 % of it.
    noise, shuffled : the same number for white noise, and for real volumes with shuffled labels: what a failure looks like.
    better : which way is good.
    count : samples behind the value.
    note : what a reader must know, e.g. that there were too few samples, or why there is no value.
    """

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str
    question: Question
    label: str | None = None
    unit: str = ""
    value: float | None
    interval: Interval | None = None
    real: float | None = None
    real_interval: Interval | None = None
    noise: float | None = None
    shuffled: float | None = None
    better: Better
    count: int = 0
    note: str = ""


class Line(Settings):
    """One line of a plot: a mean with, where known, a band around it. None where there is no value."""

    name: LineName
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()


class Plot(Settings):
    """Lines over common positions, e.g. log power by spatial frequency; titles have units, `label` is None for all classes."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str
    x_title: str
    y_title: str
    label: str | None = None
    x: tuple[float, ...]
    lines: tuple[Line, ...]


class ClosePair(Settings):
    """A generated volume and the training box nearest to it.

    Parameters
    ----------
    distance : 1 - correlation after the best rotation and shift: 0 is a copy.
    ratio : distance over the median distance of held-out real boxes to their nearest training box.
    rotation : ``identity`` or the axis of the 180-degree turn of the training box.
    shift_voxel : zyx, of the training box after its rotation.
    """

    sample: str
    box: str
    distance: float
    ratio: float
    rotation: Literal["identity", "x", "y", "z"]
    shift_voxel: tuple[int, int, int]


class Verdict(Settings):
    """The answer to one question, in a word and a sentence that names the numbers behind it."""

    question: Question
    answer: Literal["yes", "partly", "no", "not measured"]
    sentence: str


class SetDescription(Settings):
    """What was compared; `trained_on` is for generated volumes, `simulated` for boxes that are called real (since version 3)."""

    path: str
    kind: str
    digest: str | None = None
    voxel_size_angstrom: float
    box_size_voxel: int
    counts: dict[str, int]
    note: str = ""
    trained_on: TrainedOn = "unknown"
    simulated: bool = False


class StageCost(Settings):
    """A part of the evaluation; what it cost is not written, since it is never the same again."""

    name: str
    seconds: float | None = Field(None, exclude=True)
    peak_memory_gb: float | None = Field(None, exclude=True)


class Evaluated(Document):
    """Base of the records of an evaluation."""

    written_by: ClassVar[str] = "frazil evaluate"
    schema_version: int = 3


class Evaluation(Evaluated):
    """The content of ``metrics.json``; `name` is that of the generator, `curves` are those of real slices."""

    kind: Literal["frazil evaluation"] = "frazil evaluation"
    name: str
    generated: SetDescription
    held_out: SetDescription
    training: SetDescription
    curves: SetDescription | None = None
    seed: int
    verdicts: tuple[Verdict, ...]
    scores: tuple[Score, ...]
    plots: tuple[Plot, ...]
    close_pairs: tuple[ClosePair, ...] = ()
    stages: tuple[StageCost, ...] = ()
    warnings: tuple[str, ...] = ()
