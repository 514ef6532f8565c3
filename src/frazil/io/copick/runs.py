"""A copick project that a command fills run by run: each run is made apart and moved into place when it is whole.

A run has a record, `tomogram.json`, which names its files, so any number of processes can work on one project. The record of the
command gathers those of the runs.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from pydantic import ValidationError

from frazil.core.console import progress_bar
from frazil.core.documents import Document, differences
from frazil.core.errors import OutputError
from frazil.core.executor import executor
from frazil.core.files import output_errors, write_json
from frazil.core.folder import OutputFolder, final_place
from frazil.core.ledger import enter, move_files, remove_own
from frazil.core.reading import read_json
from frazil.core.records import Picks
from frazil.core.settings import Settings, SourceSettings
from frazil.io.copick.project import CONFIG_NAME, octopi_targets, write_octopi_targets, write_project_config
from frazil.io.copick.source import RUNS, open_tree
from frazil.io.sources import open_source

if TYPE_CHECKING:
    import pandas as pd

RUN_FILE = "tomogram.json"
MRC_FOLDER = "mrc"
USUAL_LEVELS = 3
"""Of the tomograms' pyramids, unless a tomogram is too small."""

Advance = Callable[[float], None]
"""Called with the share of a run that was done."""


def no_advance(_: float) -> None:
    """Tell nobody."""


class PlannedRun(Protocol):
    """A run to make."""

    @property
    def run(self) -> str:
        """Its name."""

    @property
    def digest(self) -> str | None:
        """Digest of what is asked for beside the index and what all runs share; None if nothing."""


class WrittenRun(Settings):
    """Base of the record of a run.

    Parameters
    ----------
    shape_voxel : zyx.
    particles : number of each annotated class.
    files : what was written of it, relative to the project.
    """

    shape_voxel: tuple[int, int, int]
    voxel_size_angstrom: float
    particles: dict[str, int]
    files: tuple[str, ...]

    @property
    def digest(self) -> str | None:
        """See `PlannedRun.digest`."""
        raise NotImplementedError


class ProjectRecord(Document):
    """Base of the record of a command: `parameters` are all that decides what is written, except for which runs."""

    parameters: Settings


Plan = TypeVar("Plan", bound=PlannedRun)
Run = TypeVar("Run", bound=WrittenRun)
Record = TypeVar("Record", bound=ProjectRecord)


@dataclass(frozen=True)
class RunsProject(ABC, Generic[Plan, Run, Record]):
    """The project, and what all its runs share. Goes to worker processes as it is."""

    out: Path

    user: ClassVar[str]
    """Of the picks, in copick's sense."""

    run_type: ClassVar[type[WrittenRun]]
    more_files: ClassVar[tuple[str, ...]] = ()
    """Files and folders of the command beside runs, configuration and MRC copies."""

    @property
    @abstractmethod
    def folder(self) -> OutputFolder[Record]:
        """The output folder of the command."""

    @abstractmethod
    def record(self, runs: dict[str, Run]) -> Record:
        """Return what the record of the command says, with these runs."""

    @abstractmethod
    def radii_angstrom(self) -> Mapping[str, float]:
        """Return the radius of each annotated class."""

    @abstractmethod
    def write_run(self, plan: Plan, advance: Advance = no_advance) -> Any:
        """Make one run and put it into the project, whole or not at all."""

    def write_maps(self, runs: dict[str, Run]) -> Mapping[str, float]:
        """Write a map of each annotated class, where its structure is known, and return the thresholds of their surfaces."""
        return {}

    def write_beside(self, runs: dict[str, Run]) -> None:
        """Write what is made of all runs together."""

    @classmethod
    def owns(cls) -> tuple[str, ...]:
        """Return what the command writes in its folder."""
        return (CONFIG_NAME, RUNS, MRC_FOLDER, octopi_targets(cls.user), *cls.more_files)

    def earlier(self, plans: Sequence[Plan], *, force: bool) -> Record | None:
        """Return the record of an earlier call for the same runs, None if there is none; see `OutputFolder.earlier`."""
        return self.folder.earlier(self.record({}), force=force, compare=self._compare(plans))

    def _compare(self, plans: Sequence[Plan]) -> Callable[[Record, Record], list[str]]:
        def compare(old: Record, new: Record) -> list[str]:
            digests = {run: record.digest for run, record in self.runs().items()}
            changed = [plan.run for plan in plans if digests.get(plan.run, plan.digest) != plan.digest]
            return differences(old.parameters, new.parameters) + [f"other picks of {run}" for run in changed]

        return compare

    def begin(self, plans: Sequence[Plan], *, shared: bool, force: bool) -> Self:
        """Return the project to write: this one, or one that will replace it."""
        work, _ = self.folder.begin(self.record({}), force=force, shared=shared, compare=self._compare(plans))
        return replace(self, out=work.path)

    def finish(self, *, shared: bool) -> None:
        """Write `copick.json`, and the record with all runs; remove the latter if there is nothing at all."""
        if runs := self.runs():
            name = final_place(self.out).resolve().name
            radii = self.radii_angstrom()
            thresholds = self.write_maps(runs)
            write_project_config(
                self.out, name=name, labels_radius_angstrom=radii, map_thresholds=thresholds, simulated=True
            )
            write_octopi_targets(self.out, radii, user=self.user)
            self.write_beside(runs)
            self.record(runs).write(self.folder.record_path)
        elif not shared and not self.folder.written():
            self.folder.abandon()

    def is_gathered(self) -> bool:
        """Return whether the record of the command, which is written last, names all runs that are there."""
        path = self.folder.record_path
        return path.exists() and read_json(path, OutputError).get("runs", {}).keys() == self.runs().keys()

    def picks(self, runs: Mapping[str, Run]) -> list[Picks]:
        """Return the picks of these runs, as they were written."""
        if not any(count for record in runs.values() for count in record.particles.values()):
            return []
        folders = {"static": self.out, "overlay": self.out}  # the configuration may name where all of it will be
        source = open_tree(self.out, "copick project", SourceSettings(users=(self.user,)), **folders)
        return [some for some in source.picks() if some.run in runs]

    def runs(self) -> dict[str, Run]:
        """Return the records of the runs of which every file is there, by name."""
        found = {}
        with output_errors(self.out):
            for path in sorted(self.out.glob(f"{RUNS}/*/{RUN_FILE}")):
                try:
                    record = self.run_type.model_validate(read_json(path, OutputError))
                except (OutputError, ValidationError):
                    continue  # damaged: made again
                if all((self.out / place).exists() for place in record.files):
                    found[path.parent.name] = record
        return found  # type: ignore[return-value]

    def missing(self, plans: Sequence[Plan], lost: Collection[str] = ()) -> list[Plan]:
        """Return the plans whose run is not whole; `lost` are files that are known to be gone."""
        broken = {Path(name).parts[1] for name in lost if name.startswith(f"{RUNS}/")}
        finished = self.runs().keys() - broken
        return [plan for plan in plans if plan.run not in finished]

    @contextmanager
    def scratch(self, run: str) -> Iterator[Path]:
        """Yield a folder like a project to write `run` in, which ends with `put`; it is removed in any case."""
        scratch = self.out / f".{run}.{os.getpid()}.partial"
        try:
            with output_errors(self.out / RUNS / run):
                scratch.mkdir()
                yield scratch
        finally:
            remove_own(scratch)

    def put(self, run: str, scratch: Path, record: Run) -> None:
        """Write the record of a run, and move the run into the project."""
        final, run_folder = self.out / RUNS / run, scratch / RUNS / run
        write_json(run_folder / RUN_FILE, record.model_dump(mode="json"))
        final.parent.mkdir(exist_ok=True)
        if final.exists():  # a run that lost a file; others may have put picks of their own there
            (final / RUN_FILE).unlink(missing_ok=True)
            move_files(run_folder, final, last=RUN_FILE)
        else:
            enter(final, run_folder)
            run_folder.replace(final)

    def fill(
        self,
        plans: Sequence[Plan],
        *,
        verb: str,
        shared: bool,
        workers: int,
        dask: str | None,
        force: bool,
        threads: int | None = 1,
    ) -> tuple[dict[str, Run], list[Any]]:
        """Make what is missing; return the records of all runs, and what `write_run` returned for those that were made.

        Processes that share a project write its record in turn. For `threads` see `executor`.
        """
        turn = self.folder.turn if shared else nullcontext
        results: list[Any] = []
        with self.folder.held(shared=shared):
            with turn():
                project = self.begin(plans, shared=shared, force=force)
            lost = [] if shared else project.folder.check()
            missing = project.missing(plans, lost)
            try:
                with executor(workers=workers, dask=dask, threads=threads) as pool, progress_bar() as bar:
                    task = bar.add_task(verb, total=len(plans), completed=len(plans) - len(missing))
                    advance = partial(bar.advance, task)
                    alone = workers == 1 and dask is None
                    work = partial(project.write_run, advance=advance) if alone else project.write_run
                    for _, result in pool.run(work, missing):
                        if not results:  # copick can open the project while the rest is being made
                            with turn():
                                project.finish(shared=shared)
                        results.append(result)
                        bar.update(task, completed=len(plans) - len(missing) + len(results))
            finally:
                with turn():
                    if missing or lost or not project.is_gathered():
                        project.finish(shared=shared)
            runs = project.runs()
            project.folder.finish()
        return runs, results


@dataclass(frozen=True)
class LabeledProject:
    """A project on disk that a command made.

    Parameters
    ----------
    path : of the copick project.
    counts : number of particles of each class, by run; of all runs that are there.
    """

    path: Path
    counts: dict[str, dict[str, int]]

    user: ClassVar[str]
    made: ClassVar[str]
    """What was done, for people: ``Simulated``."""

    @property
    def runs(self) -> list[str]:
        """Names of the runs."""
        return list(self.counts)

    @property
    def particles(self) -> pd.DataFrame:
        """One row per particle: run, label and center in angstrom (z, y, x)."""
        import pandas as pd

        picks = open_source(self.path, SourceSettings(users=(self.user,))).picks()
        columns = ["z_angstrom", "y_angstrom", "x_angstrom"]
        tables = [
            pd.DataFrame(some.centers_angstrom, columns=columns).assign(run=some.run, label=some.label)
            for some in picks
        ]
        return pd.concat(tables, ignore_index=True)[["run", "label", *columns]]

    def _repr_html_(self) -> str:
        """Show the number of particles of each class and run in a notebook."""
        import pandas as pd

        table = pd.DataFrame.from_dict(self.counts, orient="index")
        return f"<p>{self.made} project <code>{self.path}</code>, particles per run:</p>{table.to_html()}"
