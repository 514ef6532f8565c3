"""The folder of a training run: which run it holds, whether it may go on, and how its network is computed."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from frazil.core.errors import OutputError
from frazil.core.files import exclusive, make_folder, output_errors, read_json, write_json
from frazil.core.settings import Preset
from frazil.core.version import __version__
from frazil.dataset.store import BoxStore
from frazil.model.bundle import RUN_BUNDLE
from frazil.model.compute import Compute
from frazil.model.probe import Probe
from frazil.training.fit import CHECKPOINT_NAME

SCHEMA_VERSION = 1
RUN_FILE = "run.json"
BEST_BUNDLE = "bundle-best"

_FREE = {
    ("training", "epochs"),
    ("training", "validate_every"),
    ("training", "precision"),
    ("training", "memory_format"),
}
"""What may differ when a run goes on, or is compared apart."""


@dataclass(frozen=True)
class RunFolder:
    """What an earlier call left in a run folder.

    Parameters
    ----------
    run : the folder.
    compute : how the network of the same run was computed; None where a run begins here.
    to_clear : the folder holds something else, which the user gave up by ``--force``.
    probed : what the earlier call was decided by, for people.
    """

    run: Path
    compute: Compute | None = None
    to_clear: bool = False
    probed: str | None = None

    @classmethod
    def check(
        cls, run: Path, preset: Preset, boxes: BoxStore, *, base: Mapping[str, Any] | None = None, force: bool
    ) -> RunFolder:
        """Look at the folder without touching it.

        Parameters
        ----------
        base : what the training begins with (`frazil.training.start.TrainingBase.described`), if not with fresh weights.

        Raises
        ------
        OutputError : it holds another run or something else, and `force` is not given; or it is a file.
        """
        if run.exists() and not run.is_dir():
            raise OutputError(f"{run}: is a file; choose a folder")
        if (run / RUN_FILE).exists():
            try:
                content = read_json(run / RUN_FILE, OutputError)
                different = _differences(content, preset, boxes.digest, base)
            except OutputError:
                if not force:
                    raise
                content, different = {}, ["it is damaged"]
            if different and not force:
                raise OutputError(
                    f"{run}: holds a run with other settings ({'; '.join(different)}); "
                    "train into another folder, or pass --force to begin anew"
                )
            return cls(run, to_clear=True) if different else cls(run, _compute(content), probed=content.get("probe"))
        strangers = [path.name for path in run.iterdir() if not path.name.startswith(".")] if run.exists() else []
        if strangers and not force:
            raise OutputError(f"{run}: is not empty and holds no training run; choose another folder, or pass --force")
        return cls(run, to_clear=bool(strangers))

    @classmethod
    def await_first(
        cls,
        run: Path,
        preset: Preset,
        boxes: BoxStore,
        *,
        base: Mapping[str, Any] | None = None,
        seconds: float = 120.0,
    ) -> RunFolder:
        """Wait until the first process has prepared the folder: launchers such as SLURM's start all processes at once.

        Raises
        ------
        OutputError : it did not; the folder is not shared by the nodes, or the first process has stopped.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (run / RUN_FILE).exists():
                content = read_json(run / RUN_FILE, OutputError)
                if not _differences(content, preset, boxes.digest, base):
                    return cls(run, _compute(content))
            time.sleep(0.2)
        raise OutputError(f"{run}: the first process did not prepare it; is the folder on a disk that all nodes share?")

    def prepare(
        self,
        preset: Preset,
        boxes: BoxStore,
        held: ExitStack,
        *,
        base: Mapping[str, Any] | None = None,
        probed: Probe | None,
    ) -> None:
        """Clear away what was given up, and write what this run is. The folder stays locked until `held` is closed.

        Parameters
        ----------
        preset : with nothing left open.
        """
        make_folder(self.run)
        held.enter_context(exclusive(self.run, "trains"))
        if self.to_clear:
            _clear(self.run)
        described = {
            "schema_version": SCHEMA_VERSION,
            "kind": "frazil training run",
            "frazil": __version__,
            "preset": preset.model_dump(mode="json"),
            "base": base,
            "probe": self.probed if probed is None else str(probed),
            "store": str(boxes.path.resolve()),
            "store_digest": boxes.digest,
            "command": shlex.join(["frazil", *sys.argv[1:]]),
        }
        write_json(self.run / RUN_FILE, described)


def _clear(run: Path) -> None:
    """Remove what a training wrote, and nothing else."""
    with output_errors(run):
        for name in (CHECKPOINT_NAME, "metrics.csv", "losses.png", "losses.pdf", RUN_FILE):
            (run / name).unlink(missing_ok=True)
        for name in (RUN_BUNDLE, BEST_BUNDLE, "tensorboard"):
            shutil.rmtree(run / name, ignore_errors=True)


def _differences(
    old: dict[str, Any], new: Preset, store_digest: str, base: Mapping[str, Any] | None = None
) -> list[str]:
    """Name what makes two runs different. More epochs, other validation dates and another place of the store do not."""
    if old.get("schema_version", 0) > SCHEMA_VERSION:
        return [f"schema {old['schema_version']} of a newer frazil"]
    found = []
    old_preset = _complete(old.get("preset", {}))
    if old.get("store_digest") != store_digest:
        found.append("another box store")
    if old.get("base") != base:
        found.append("another --from, or other classes of it")
    for section, values in new.model_dump(mode="json").items():
        if section in ("curate", "sampling", "name"):
            continue
        before = old_preset.get(section, {})
        for key, value in values.items():
            if before.get(key) != value and (section, key) not in _FREE:
                found.append(f"{section}.{key} was {before.get(key)}, is {value}")
    return found + _other_compute(_compute(old), new)


def _other_compute(before: Compute | None, preset: Preset) -> list[str]:
    """Name what else a run was computed in; ``auto`` is whatever it was."""
    precision, memory_format = preset.training.precision, preset.training.memory_format
    if before is None:
        return ["training.precision is not known"]
    if precision not in ("auto", before.precision):
        return [f"training.precision was {before.precision}, is {precision}"]
    wanted = Compute.named(before.precision).memory_format if memory_format is None else memory_format
    if wanted not in ("auto", before.memory_format):
        return [f"training.memory_format was {before.memory_format}, is {wanted}"]
    return []


def _compute(described: dict[str, Any]) -> Compute | None:
    try:
        return Compute.of(Preset.model_validate(described.get("preset", {})).training)
    except ValueError:  # also pydantic's
        return None


def _complete(preset: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of an earlier run with the defaults of those that did not exist when it began."""
    try:
        return Preset.model_validate(preset).model_dump(mode="json")
    except ValidationError:
        return preset
