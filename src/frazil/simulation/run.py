"""`frazil simulate`: a preset and a seed in; a copick project of simulated tomograms and the truth about them out."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIG_IGN, SIGINT, SIGTERM, signal
from typing import Any

import torch

from frazil.core.console import progress_bar, say, warn
from frazil.core.errors import SettingsError, SimulationError
from frazil.core.files import exclusive, file_digest, make_folder
from frazil.io.copick.project import CONFIG_NAME
from frazil.simulation.like import LikeOptions, plan_like
from frazil.simulation.limits import check_levels, check_memory
from frazil.simulation.preset import SimulationPreset, load_simulation_preset
from frazil.simulation.project import TYPES, FinishedRun, RunPlan, SimulationProject
from frazil.simulation.specimen.recipe import specimen_structures
from frazil.simulation.text import split_numbers

MANIFEST_SECONDS = 5.0
"""The manifest names every run, so it is not written after every one: a kill costs so much work at most."""

_USUAL_LEVELS = 3
_STRUCTURES = "specimen.structures"
_SHAPE = "specimen.shape_voxel"
_VOXEL_SIZE = "specimen.voxel_size_angstrom"
_ICE = "specimen.ice_thickness_angstrom"
_stopping = threading.Event()  # of a worker process


@dataclass(frozen=True)
class SimulatedOutput:
    """What is written of each tomogram.

    Parameters
    ----------
    types : of `TYPES`. By default all: a detector is trained on ``denoised`` or ``wbp``, a denoiser on ``wbp`` with ``clean`` as
        the truth; of a tomogram of the size of CZII's the first two take about 0.3 GB each, the third a tenth of it.
    levels : resolutions of the OME-Zarr pyramids; None is three, as viewers of copick and napari expect, or as many as a
        small tomogram can have.
    mrc : also write each tomogram as ``mrc/<type>/<run>.mrc``.
    """

    types: tuple[str, ...] = tuple(TYPES)
    levels: int | None = None
    mrc: bool = False


def simulate(
    out: Path,
    preset: SimulationPreset,
    *,
    count: int | None = None,
    seed: int = 0,
    like: LikeOptions | None = None,
    output: SimulatedOutput | None = None,
    workers: int = 1,
    force: bool = False,
) -> None:
    """Write a copick project of simulated tomograms, or go on where an earlier call was interrupted.

    Tomogram i depends on (seed, i) and the settings alone, so a larger `count` adds to what is there.

    Parameters
    ----------
    out : folder of the project.
    count : tomograms; None is 1, or one for each run of `like`.
    like : simulate the picks of a project again, instead of random places.
    workers : processes; each holds one tomogram, with one thread.
    force : replace what an earlier call with other settings left in `out`.

    Raises
    ------
    OutputError : `out` holds something else, or cannot be written.
    SimulationError : a number that makes no sense, or particles that do not fit into the ice.
    SourceError, PickError : the project to be like cannot be used.
    """
    output = output or SimulatedOutput()
    _check(count, workers, output, like)
    if like is None:
        plans = [RunPlan(run_name(index), index) for index in range(count or 1)]
        structures = specimen_structures(preset.specimen)
    else:
        planned = plan_like(like, preset.specimen)
        plans = planned.plans
        structures = specimen_structures(preset.specimen, picked=planned.labels)
    if output.levels is not None:
        check_levels(output.levels, [plan.grid(preset)[0] for plan in plans])
    entries = preset.specimen.structures
    if unused := [entry.label for entry in entries if entry.label not in structures]:
        warn(f"structure of {', '.join(unused)} not used: none of it is asked for, see --particles-per-class")
    project = SimulationProject(
        out=out,
        preset=_with_resolved_sources(preset),
        seed=seed,
        structures=structures,
        types=tuple(name for name in TYPES if name in output.types),
        levels=output.levels or _USUAL_LEVELS,
        mrc=output.mrc,
        digests=_digests(entry.source for entry in entries if entry.label in structures),
        like=None if like is None else like.parameters(),
    )
    finished = project.finished(plans, force=force)  # what is somebody else's is not touched
    missing = [plan.grid(preset) for plan in plans if plan.run not in finished]
    check_memory(missing, structures.values(), workers=workers)
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        make_folder(out)
        with exclusive(out, "simulates"):
            _simulate(project, plans, workers=workers, force=force)
    finally:
        for folder in made:
            with suppress(OSError):  # it holds something, as it should
                folder.rmdir()


def run_name(index: int) -> str:
    """Return the copick run of tomogram `index`."""
    return f"SIM_{index:03d}"


def simulation_preset(
    preset: str, options: Mapping[str, Any], settings: Mapping[str, Any], structures: Iterable[str] = ()
) -> SimulationPreset:
    """Return a preset with what the command line puts over it.

    Parameters
    ----------
    options : dotted key to value; None leaves the preset's. Ice of thickness ``full`` fills the tomogram, and so does that
        of the preset where it is too thick for another shape or voxel size.
    settings : the same, from ``--set``; they go last.
    structures : ``label=path``, instead of the preset's structure of that label.

    Raises
    ------
    SettingsError : an option that cannot be read.
    SimulationError : a value that cannot be simulated.
    """
    overrides = {key: value for key, value in options.items() if value is not None} | dict(settings)
    if overrides.get(_ICE) == "full":
        overrides[_ICE] = None
    if any(key.startswith("specimen.concentrations") for key in overrides):
        overrides.setdefault("specimen.particles_per_class", None)  # they stand for the preset's counts
    if overrides.keys() & {_SHAPE, _VOXEL_SIZE} and _ICE not in overrides:
        _thin_the_ice(preset, overrides)
    given = [_labelled_path(text) for text in structures]
    if given and _STRUCTURES not in overrides:
        kept = [entry.model_dump() for entry in load_simulation_preset(preset).specimen.structures]
        labels = {label for label, _ in given}
        overrides[_STRUCTURES] = [entry for entry in kept if entry["label"] not in labels]
        overrides[_STRUCTURES] += [{"label": label, "source": path} for label, path in given]
    return load_simulation_preset(preset, overrides)


def parse_types(text: str) -> tuple[str, ...]:
    """Return the tomogram types of a text such as ``wbp,denoised``.

    Raises
    ------
    SettingsError : none, or one that does not exist.
    """
    types = tuple(part.strip() for part in text.split(","))
    if unknown := [name for name in types if name not in TYPES]:
        raise SettingsError(f"--types {text}: no type {', '.join(unknown)}; choose from {', '.join(TYPES)}")
    return types


def _check(count: int | None, workers: int, output: SimulatedOutput, like: LikeOptions | None) -> None:
    if count is not None and like is not None:
        raise SimulationError(
            f"count {count}: a project that is simulated again has its own number of runs; leave --count out, "
            "and choose with --run"
        )
    if count is not None and count < 1:
        raise SimulationError(f"count {count}: no tomograms to simulate; ask for at least 1")
    if workers < 1:
        raise SimulationError(f"workers {workers}: nobody to do the work; give at least 1")
    if output.levels is not None and output.levels < 1:
        raise SimulationError(f"levels {output.levels}: no resolution to write; ask for at least 1")


def _thin_the_ice(preset: str, overrides: dict[str, Any]) -> None:
    """Let the preset's ice fill a tomogram that it is too thick for: its thickness was chosen for another one."""
    specimen = load_simulation_preset(preset).specimen
    thickness = specimen.ice_thickness_angstrom
    try:
        edge = split_numbers(overrides.get(_SHAPE, specimen.shape_voxel))[0]
        depth = int(edge) * float(overrides.get(_VOXEL_SIZE, specimen.voxel_size_angstrom))
    except (TypeError, ValueError, IndexError):
        return  # no numbers: loading says so
    if thickness is not None and 0 < depth < thickness:
        overrides[_ICE] = None
        warn(
            f"ice: {thickness:g} A thick in preset {preset}, and the tomogram is {depth:g} A deep, so ice fills it; "
            "--ice-thickness gives another"
        )


def _with_resolved_sources(preset: SimulationPreset) -> SimulationPreset:
    """Name structure files by absolute paths, so that the same file is the same, however it was typed."""
    entries = tuple(
        entry if entry.source is None else entry.model_copy(update={"source": _resolved(entry.source)})
        for entry in preset.specimen.structures
    )
    return preset.model_copy(update={"specimen": preset.specimen.model_copy(update={"structures": entries})})


def _resolved(path: str) -> str:
    return str(Path(path).resolve())


def _digests(paths: Iterable[str | None]) -> dict[str, str]:
    return {_resolved(path): file_digest(Path(path)) for path in paths if path is not None}


def _labelled_path(text: str) -> tuple[str, str]:
    label, equals, path = text.partition("=")
    if not equals or not label.strip() or not path.strip():
        raise SettingsError(f"--structure {text}: not of the form label=path, e.g. --structure proteasome=1pma.cif")
    return label.strip(), path.strip()


def _simulate(project: SimulationProject, plans: Sequence[RunPlan], *, workers: int, force: bool) -> None:
    """Simulate what is not there yet, and say what was done."""
    finished = project.finished(list(plans), force=force)
    missing = [plan for plan in plans if plan.run not in finished]
    if not missing:
        say(f"{project.out}: all simulated tomograms are there already ({len(finished)}); nothing to do")
        return
    seconds: list[dict[str, float]] = []
    written = time.monotonic()
    with progress_bar() as bar:
        task = bar.add_task("simulate", total=len(plans), completed=len(plans) - len(missing))

        def on_finished(done: FinishedRun) -> None:
            nonlocal written
            finished[done.run] = done.record
            seconds.append(done.seconds)
            bar.advance(task)
            if time.monotonic() - written > MANIFEST_SECONDS:
                project.write_manifest(finished)
                written = time.monotonic()

        try:
            if not finished:
                project.begin()
            if workers == 1 or len(missing) == 1:
                _in_this_process(project.write_run, missing, on_finished)
            else:
                _in_processes(project.write_run, missing, min(workers, len(missing)), on_finished)
        finally:
            if finished:
                project.write_manifest(finished)
            else:
                project.discard()
    _report(project, finished, seconds)


def _report(
    project: SimulationProject, finished: Mapping[str, Mapping[str, Any]], seconds: Sequence[Mapping[str, float]]
) -> None:
    particles = sum(sum(record["particles"].values()) for record in finished.values())
    say(f"{project.out}: simulated tomograms: {len(finished)}, particles: {particles:,}; copick opens {CONFIG_NAME}")
    parts = [f"{stage} {sum(run[stage] for run in seconds) / len(seconds):.1f}" for stage in seconds[0]]
    say(f"seconds a tomogram: {', '.join(parts)}")


def _in_this_process(
    task: Callable[[RunPlan], FinishedRun], plans: Sequence[RunPlan], on_finished: Callable[[FinishedRun], None]
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker does, so that it rounds as a worker does
    try:
        for plan in plans:
            on_finished(task(plan))
    finally:
        torch.set_num_threads(threads)


def _in_processes(
    task: Callable[[RunPlan], FinishedRun],
    plans: Sequence[RunPlan],
    workers: int,
    on_finished: Callable[[FinishedRun], None],
) -> None:
    """Share the plans between processes; the first error, or Ctrl-C, stops all of them."""
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)
    try:
        futures = [pool.submit(_work, task, plan) for plan in plans]
        for future in as_completed(futures):
            on_finished(future.result())
    except BrokenProcessPool:
        raise SimulationError(
            f"workers {workers}: one was killed, most likely for want of memory; run the same command with fewer to continue"
        ) from None
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()  # what it works on is not wanted any more
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _work(task: Callable[[RunPlan], FinishedRun], plan: RunPlan) -> FinishedRun:
    """Do a plan in a worker that was not told to stop."""
    if _stopping.is_set():
        raise SystemExit
    return task(plan)


def _begin_worker() -> None:
    """Use one thread, leave Ctrl-C to the parent, stop tidily when it says so, and end with it, however it ends."""
    torch.set_num_threads(1)
    signal(SIGINT, SIG_IGN)
    signal(SIGTERM, _stop)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def end_with_it() -> None:
            with suppress(Exception):
                parent.join()
            os._exit(1)

        threading.Thread(target=end_with_it, daemon=True).start()


def _stop(*_: Any) -> None:
    """Give up the tomogram at hand, so that what is half-written is removed."""
    _stopping.set()
    signal(SIGTERM, SIG_IGN)
    raise SystemExit
