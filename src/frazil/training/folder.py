"""The folder of a training run: the record in it says which run it holds, and how its network is computed."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import AliasChoices, Field

from frazil.core.documents import Document, differences
from frazil.core.errors import OutputError
from frazil.core.folder import OutputFolder
from frazil.core.settings import Preset
from frazil.core.version import __version__
from frazil.model.bundle import RUN_BUNDLE
from frazil.model.compute import Compute
from frazil.training.job import TrainingJob

CHECKPOINT_NAME = "last.ckpt.safetensors"
METRICS_NAME = "metrics.csv"
FIGURE_NAME = "losses"
EVENTS_NAME = "tensorboard"
BEST_BUNDLE = "bundle-best"

_FREE = (
    "store",
    "command",
    "preset.name",
    "preset.curate",
    "preset.sampling",
    "preset.training.epochs",
    "preset.training.validate_every",
    "preset.training.precision",  # compared apart
    "preset.training.memory_format",
)
"""What may differ when a run is resumed."""


class RunRecord(Document):
    """What is trained on what.

    Parameters
    ----------
    preset : what was asked for; once training has begun, with nothing left open.
    base : the bundle and its classes that the training started from (`frazil.training.start.Start.described`), if any.
    store, store_digest : the box store.
    command : the command line of the newest call.
    """

    written_by: ClassVar[str] = "frazil train"

    schema_version: int = 2
    kind: Literal["frazil training run"] = "frazil training run"
    frazil_version: str = Field(__version__, validation_alias=AliasChoices("frazil_version", "frazil"))  # schema 1
    preset: Preset
    base: dict[str, Any] | None = None
    probe: str | None = Field(None, exclude=True)  # of 0.1, which timed the network
    store: str
    store_digest: str
    command: str

    @classmethod
    def of(cls, job: TrainingJob) -> RunRecord:
        """Describe a job."""
        return cls(
            preset=job.preset,
            base=None if job.start is None else job.start.described(),
            store=str(job.data.path.resolve()),
            store_digest=job.data.digest,
            command=shlex.join(["frazil", *sys.argv[1:]]),
        )

    @property
    def compute(self) -> Compute:
        """How the network of the run is computed."""
        return Compute.of(self.preset.training)


def run_folder(path: Path) -> OutputFolder[RunRecord]:
    """Return the folder of a run."""
    figures = (f"{FIGURE_NAME}.png", f"{FIGURE_NAME}.pdf")
    owns = (CHECKPOINT_NAME, METRICS_NAME, *figures, RUN_BUNDLE, BEST_BUNDLE, EVENTS_NAME)
    return OutputFolder(path, "run.json", RunRecord, owns)


def run_differences(old: RunRecord, new: RunRecord) -> list[str]:
    """Name what makes two runs different; a precision of ``auto`` is whatever it was, and so is a memory format that is not named."""
    asked = new.preset.training
    precision = old.compute.precision if asked.precision == "auto" else asked.precision
    kept = precision == old.compute.precision and asked.memory_format is None
    wanted = old.compute if kept else Compute.named(precision, asked.memory_format)
    computed = [] if wanted == old.compute else [f"preset.training.precision {old.compute} -> {wanted}"]
    return differences(old, new, _FREE) + computed


def await_record(
    folder: OutputFolder[RunRecord], wanted: RunRecord, *, seconds: float = 120.0
) -> tuple[OutputFolder[RunRecord], RunRecord]:
    """Wait until the first process has written the record, and return it and where it is.

    Launchers such as SLURM's start all processes at once.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for place in (folder, folder.replacement):
            if place.record_path.exists():
                record = RunRecord.read(place.record_path, OutputError)
                if not run_differences(record, wanted):
                    return place, record
        time.sleep(0.2)
    raise OutputError(
        f"{folder.path}: the first process did not prepare it; is the folder on a disk that all nodes share?"
    )
