"""`frazil curate`: annotated tomograms in, a box store out, and the paper's Table 1 on the way."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, overload

from pydantic import ValidationError

from frazil.core.console import progress_bar, say, warn
from frazil.core.errors import FrazilError, SettingsError
from frazil.core.presets import load_preset
from frazil.core.settings import SourceSettings, check_number
from frazil.dataset.contrast import warn_of_contrast
from frazil.dataset.curate import curate_boxes, find_finished
from frazil.dataset.plan import CurationPlan, check_plan, make_plan, plan_warnings
from frazil.dataset.runs import run_jobs
from frazil.dataset.show import print_counts, print_store
from frazil.dataset.store import BoxStore
from frazil.dataset.tomograms.curate import curate_tomograms
from frazil.dataset.tomograms.store import TomogramStore
from frazil.io.sources import Source, only_runs, open_source


def source_settings(**values: Any) -> SourceSettings:
    """Return `SourceSettings` of options; those that are None or empty keep their default."""
    try:
        return SourceSettings(**{key: value for key, value in values.items() if value not in (None, (), [])})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        option = str(fault["loc"][0]).removesuffix("_angstrom").removesuffix("_degrees").replace("_", " ")
        raise SettingsError(f"{option} {fault['input']}: {fault['msg'].lower()}; correct it") from None


@overload
def curate(
    source: Path | str,
    out: Path | str,
    *,
    first: None = None,
    count: None = None,
    dry_run: Literal[False] = False,
    whole: Literal[False] = False,
    **options: Any,
) -> BoxStore: ...
@overload
def curate(source: Path | str, out: Path | str, *, whole: Literal[True], **options: Any) -> TomogramStore: ...
@overload
def curate(source: Path | str, out: Path | str | None = None, **options: Any) -> BoxStore | TomogramStore | None: ...
def curate(
    source: Path | str,
    out: Path | str | None = None,
    *,
    preset: str = "fast",
    select: SourceSettings | None = None,
    runs: Sequence[str] = (),
    first: int | None = None,
    count: int | None = None,
    dry_run: bool = False,
    whole: bool = False,
    maps: Sequence[str] = (),
    workers: int = 1,
    dask: str | None = None,
    force: bool = False,
    **settings: Any,
) -> BoxStore | TomogramStore | None:
    """Cut boxes around annotated particles into a box store. Called again, it resumes, or finds that nothing is left to do.

    Prints how many particles were found, used and left out, and why.

    Parameters
    ----------
    source : a copick project or its configuration, a CZII folder, or a folder of MRC files with a CSV or STAR of picks.
    out : folder of the store; not needed in a dry run.
    preset : ``paper``, ``fast``, ``smoke``, or a TOML file: settings of the boxes and of the split.
    select : which tomograms and picks to take; None takes all, where there is only one choice.
    runs : take only these; empty takes all. Unlike `first` and `count`, it decides what is in the store.
    first, count : cut only these runs, counted in the order of their names, for several calls at the same time, such as the
        tasks of a SLURM array. A call without them cuts what is missing and finishes the store.
    dry_run : print the table from the picks alone, write nothing, and return None.
    whole : write whole tomograms with all their particles instead of boxes, for a network that is told a layout.
    maps : with `whole`: names of copick segmentations to keep as label maps, of membranes for instance; every voxel counts that is not 0.
    workers : tomograms that are cut at a time, each in a process of its own.
    dask : address of a Dask scheduler, or path of its scheduler file: its workers cut instead.
    force : replace a store with other settings.
    settings : fields of `frazil.core.settings.CurateSettings` that override the preset, e.g. ``box_size_voxel=32``.

    Returns
    -------
    The store: ``store.particles`` is a table with a row per box, ``store.volume(box)`` reads its gray values. None if `first`
    or `count` is given and the store is not finished.

    Raises
    ------
    SettingsError : a setting that is not allowed, or `out` is missing.
    SourceError, PickError : tomograms or picks cannot be read, or do not fit together.
    OutputError, StoreError : another store, or something else, is at `out`; it cannot be written, or is damaged.
    WorkerError : a worker was killed, or there is no such cluster.

    Examples
    --------
    >>> store = curate("project", "boxes", box_size_voxel=32, validation_runs=["TS_2"])  # doctest: +SKIP
    """
    for name, number, least in (("first", first, 0), ("count", count, 1)):
        if number is not None:
            check_number(name, number, SettingsError, least=least)
    maps = (maps,) if isinstance(maps, str) else maps
    if maps and not whole:
        raise SettingsError(
            f"map {maps[0]}: only whole tomograms have label maps; pass --whole (in Python: whole=True)"
        )
    runs = (runs,) if isinstance(runs, str) else runs
    select = select or SourceSettings()
    curate_settings = load_preset(preset, {f"curate.{name}": value for name, value in settings.items()}).curate
    # all classes are neighbors, so the filter by label comes after reading
    opened = open_source(Path(source), select.model_copy(update={"labels": ()}))
    opened = only_runs(opened, runs) if runs else opened
    plan = make_plan(opened, select, curate_settings)
    say(f"{opened.kind} {opened.path}: {len(plan.particles):,} picks in {plan.particles['run'].nunique()} runs")
    if dry_run:
        _preview(plan)
        return None
    if out is None:
        raise SettingsError(
            "out is missing: say where the box store goes, or pass --dry-run (in Python: dry_run=True) to see the table only"
        )
    check_plan(plan)
    path = Path(out)
    if whole:
        if first is not None or count is not None:
            raise SettingsError("first and count: only boxes are cut in parts; leave them out, or take more workers")
        return _curate_whole(opened, plan, path, maps=maps, workers=workers, dask=dask, force=force)
    if not force and (finished := find_finished(path, plan)):
        _warn(plan)
        print_store(finished)
        warn_of_contrast(finished)
        say(f"{path}: already curated with these settings and picks; nothing to do")
        return finished
    part = None if first is None and count is None else _range(plan, first or 0, count)
    with ExitStack() as stack:
        bar = progress_bar()
        picks = sum(len(job.particles) for job in run_jobs(plan)[part or slice(None)])
        task = bar.add_task("curating", total=picks)

        def on_progress(cut: int) -> None:
            if not bar.live.is_started:  # not before the work begins: what is refused is refused in one line
                _warn(plan)
                stack.enter_context(bar)
            bar.update(task, advance=cut)

        store = curate_boxes(
            opened, plan, path, runs=part, workers=workers, dask=dask, force=force, on_progress=on_progress
        )
    if store is None:
        say(
            f"{path}: cut {picks:,} picks; when all runs are cut, the same command without first and count finishes the store"
        )
        return None
    print_store(store)
    warn_of_contrast(store)
    say(f"wrote {path}: {len(store):,} boxes")
    return store


def _curate_whole(
    source: Source,
    plan: CurationPlan,
    path: Path,
    *,
    maps: Sequence[str],
    workers: int,
    dask: str | None,
    force: bool,
) -> TomogramStore:
    written: list[int] = []
    with progress_bar() as bar:
        task = bar.add_task("curating", total=len(plan.headers))

        def on_progress(tomograms: int) -> None:
            written.append(tomograms)
            bar.advance(task, tomograms)

        store = curate_tomograms(
            source, plan, path, maps=maps, workers=workers, dask=dask, force=force, on_progress=on_progress
        )
    _warn(plan)
    warn_of_contrast(store)
    described, particles = store.description, store.particles
    print_counts(described.counts, described.voxel_size_angstrom, used="used")
    say(
        f"orientations known of: {', '.join(store.oriented) or 'no class, so particles are painted alike in all directions'}"
    )
    if described.measured_radii:
        radii = [f"{label} {described.radii_angstrom[label]:.0f} A" for label in described.measured_radii]
        warn(f"radius not known, measured on the particles: {', '.join(radii)}")
    train, validation = ((particles["split"] == name).sum() for name in ("train", "validation"))
    what = f"{len(store.runs)} tomograms, {train:,} training and {validation:,} validation particles"
    if written == [len(plan.headers)]:
        say(f"{path}: already curated with these settings and picks ({what}); nothing to do")
    else:
        say(f"wrote {path}: {what}")
    return store


def _range(plan: CurationPlan, first: int, count: int | None) -> slice:
    jobs = run_jobs(plan)
    if first >= len(jobs):
        raise SettingsError(f"first {first}: there are picks to cut in {len(jobs)} runs; give a lower one")
    return slice(first, None if count is None else first + count)


def _preview(plan: CurationPlan) -> None:
    _warn(plan)
    print_counts(plan.counts(), plan.voxel_size_angstrom, used="to cut")
    try:
        check_plan(plan)
    except FrazilError as error:
        warn(f"curating this would stop: {error}")
    say("dry run: no voxel was read, nothing was written")


def _warn(plan: CurationPlan) -> None:
    for line in plan_warnings(plan):
        warn(line)
