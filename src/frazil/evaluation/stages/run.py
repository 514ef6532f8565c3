"""The stages of an evaluation. Each runs once, is kept on disk, and says what it cost."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from frazil.core.ledger import enter
from frazil.evaluation.records import STAGE_LOG, StageRecord, stage_file
from frazil.evaluation.scores import StageCost
from frazil.evaluation.stages.curves import CURVES_STAGE, curves
from frazil.evaluation.stages.diversity import diversity
from frazil.evaluation.stages.features import features
from frazil.evaluation.stages.learned import LearnedEmbedding
from frazil.evaluation.stages.material import Material, OnStep
from frazil.evaluation.stages.memorisation import memorisation
from frazil.evaluation.stages.physics import physics
from frazil.evaluation.stages.usefulness.run import usefulness


@dataclass(frozen=True)
class Stage:
    """A stage of the evaluation.

    Parameters
    ----------
    learned : whether it needs the learned embedding.
    has_quick : whether it has a quick way; a quick result counts only until the stage is run in full.
    """

    run: Callable[[Material, OnStep], StageRecord]
    learned: bool = False
    has_quick: bool = False


STAGES: dict[str, Stage] = {
    "physics": Stage(physics),
    "memorisation": Stage(memorisation),
    "diversity": Stage(diversity, learned=True),
    "features": Stage(features, learned=True),
    "usefulness": Stage(usefulness, has_quick=True),
    CURVES_STAGE: Stage(curves),
}
"""In the order in which they run. All but the last compare with boxes; that one compares with curves of real slices."""


def run_stage(
    out: Path, name: str, stage: Stage, material: Material, learned: LearnedEmbedding, *, bar: Progress
) -> StageRecord:
    """Run a stage and write what it found; the embedding is learned before the first stage that needs it."""
    costs: list[StageCost] = []
    if stage.learned and not learned.find():
        with _measured("embedding", costs, bar) as on_step:
            learned.learn(material.sets, on_step)
    with _measured(name, costs, bar) as on_step:
        found = stage.run(material, on_step)
    quick = material.quick and stage.has_quick
    record = found.model_copy(update={"quick": quick, "costs": tuple(costs)})
    record.write(stage_file(out, name))
    log = out / STAGE_LOG
    log.touch()
    enter(log, log, log=True)
    with log.open("a", encoding="utf-8") as stream:
        stream.writelines(f"{json.dumps(dict(cost))}\n" for cost in costs)  # `model_dump` leaves out what it cost
    return record


@contextmanager
def _measured(name: str, costs: list[StageCost], bar: Progress) -> Iterator[OnStep]:
    """Show the share done of the block on a line of the bar; add its seconds and the highest memory of the process."""
    with suppress(OSError):  # forget the peak; where that is not allowed, it is the peak since the start
        Path("/proc/self/clear_refs").write_text("5")
    task = bar.add_task(name, total=1.0)
    start = time.monotonic()
    yield lambda share: bar.update(task, completed=min(share, 1.0))
    seconds = time.monotonic() - start
    bar.update(task, completed=1.0)
    costs.append(StageCost(name=name, seconds=round(seconds, 2), peak_memory_gb=round(_peak_memory_gb(), 3)))


def _peak_memory_gb() -> float:
    with suppress(OSError):  # not Linux
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
