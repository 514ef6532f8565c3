"""`frazil curate`: annotated tomograms in, a box store out, and the paper's Table 1 on the way."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.table import Table

from frazil.core.console import console, progress_bar, say, warn
from frazil.core.errors import FrazilError, SettingsError
from frazil.core.settings import SourceSettings
from frazil.dataset.curate import curate_boxes, find_finished
from frazil.dataset.particles import Reason
from frazil.dataset.plan import Plan, check_plan, make_plan, plan_warnings
from frazil.io.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from frazil.core.settings import CurateSettings
    from frazil.dataset.counts import ClassCount
    from frazil.dataset.store import BoxStore
    from frazil.io.sources import Source


def source_settings(**values: Any) -> SourceSettings:
    """Return `SourceSettings` of options; those that are None or empty keep their default.

    Raises
    ------
    SettingsError : a value that cannot be.
    """
    try:
        return SourceSettings(**{key: value for key, value in values.items() if value not in (None, (), [])})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        option = "--" + str(fault["loc"][0]).removesuffix("_angstrom").removesuffix("_degrees").replace("_", "-")
        raise SettingsError(f"{option} {fault['input']}: {fault['msg'].lower()}; correct it") from None


def parse_tilt_range(text: str) -> tuple[float, float]:
    """Return lowest and highest tilt of a text like ``-45,45``, in degrees.

    Raises
    ------
    SettingsError : not two numbers, not rising, or beyond 90 degrees.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not -90 <= low < high <= 90:
        raise SettingsError(f"--tilt-range {text}: not a range of tilts; give lowest and highest degrees, e.g. -45,45")
    return low, high


def curate(
    source_path: Path,
    out: Path | None,
    source_settings: SourceSettings,
    settings: CurateSettings,
    *,
    dry_run: bool = False,
    force: bool = False,
) -> BoxStore | None:
    """Cut the boxes of all picks into a store, or only say what there is to cut.

    Parameters
    ----------
    source_path : anything that `frazil.io.sources.open_source` opens.
    out : folder of the store; may be None in a dry run.
    dry_run : print the table from the picks alone and write nothing.
    force : replace a store with other settings.

    Raises
    ------
    SettingsError, SourceError, PickError, StoreError, OutputError : see `frazil.dataset.plan` and
        `frazil.dataset.curate`.
    """
    # all classes are neighbours, so the filter by label comes after reading
    source = open_source(source_path, source_settings.model_copy(update={"labels": ()}))
    plan = make_plan(source, source_settings, settings)
    say(f"{source.kind} {source.path}: {len(plan.particles):,} picks in {plan.particles['run'].nunique()} runs")
    if dry_run:
        _warn(plan)
        _print_dry_run(plan)
        return None
    if out is None:
        raise SettingsError("--out is missing: say where the box store goes, or pass --dry-run to see the table only")
    check_plan(plan)
    if not force and (finished := find_finished(out, plan)):
        _warn(plan)
        _print_store(finished)
        say(f"{out}: curated already with these settings and picks, nothing to do")
        return finished
    store = _curate_with_bar(source, plan, out, force=force)
    _print_store(store)
    say(f"wrote {out}: {len(store):,} boxes")
    return store


def _warn(plan: Plan) -> None:
    for line in plan_warnings(plan):
        warn(line)


def _curate_with_bar(source: Source, plan: Plan, out: Path, *, force: bool) -> BoxStore:
    """Warn and show the bar when the work begins, and not before: what is refused is refused in one line."""
    with ExitStack() as stack:
        bar = progress_bar()
        task = bar.add_task("curating", total=len(plan.to_cut()))

        def on_progress(run: str, picks: int) -> None:
            if not bar.live.is_started:
                _warn(plan)
                stack.enter_context(bar)
            bar.update(task, description=run if picks else f"{run}: reading", advance=picks)

        return curate_boxes(source, plan, out, force=force, on_progress=on_progress)


def _print_dry_run(plan: Plan) -> None:
    _print_table(plan.counts(), plan.voxel_size_angstrom, used="to cut")
    try:
        check_plan(plan)
    except FrazilError as error:
        warn(f"curating this would stop: {error}")
    say("dry run: no voxel was read, nothing was written")


def _print_store(store: BoxStore) -> None:
    described = store.description
    _print_table(described.counts, described.voxel_size_angstrom, used="used")
    training, validation = len(store.boxes("train")), len(store.boxes("validation"))
    edge = described.box_size_voxel
    say(f"{len(store):,} boxes of {edge}^3 voxels at {described.voxel_size_angstrom:.3f} A")
    where = f" (runs {', '.join(described.validation_runs)})" if described.validation_runs else ""
    say(f"split by {described.split_by}: {training:,} training, {validation:,} validation{where}")
    if validation and described.split_by == "particle":
        share = described.overlapping_validation_boxes / validation
        line = f"{described.overlapping_validation_boxes:,} of {validation:,} validation boxes ({share:.1%}) overlap"
        warn(f"{line} a training box; --split tomogram shares no voxel")
    if not validation:
        warn(_no_validation(store))
    elif untrained := sorted(set(described.labels) - set(store.particles.loc[store.boxes("train"), "label"])):
        warn(f"no training box of {', '.join(untrained)}: all of them are in the validation split")
    if unused := [count.label for count in described.counts if count.found and not count.used]:
        warn(f"no box of {', '.join(unused)}: the store does not have these classes")


def _no_validation(store: BoxStore) -> str:
    if store.description.curate.validation_fraction == 0:
        return "no validation boxes, as asked for with --validation-fraction 0"
    runs = store.particles["run"].unique()
    if store.description.split_by == "tomogram" and len(runs) == 1:
        return f"no validation boxes: only run {runs[0]} has boxes; pass --split particle to validate within it"
    return "no validation boxes: there is only one box"


def _print_table(counts: Sequence[ClassCount], voxel_size_angstrom: float, *, used: str) -> None:
    """Print the paper's Table 1 with a column for each reason; sizes in voxels where the voxel size is known."""
    unit, scale = ("voxels", voxel_size_angstrom) if voxel_size_angstrom > 0 else ("A", 1.0)  # it may be NaN
    reasons = [reason for reason in Reason if any(count.left_out.get(reason) for count in counts)]
    table = Table(box=SIMPLE_HEAD)
    table.add_column("class", no_wrap=True)
    for name in (f"size\n({unit})", "found", used, "left\nout", *reasons):
        table.add_column(str(name), justify="right")
    for count in counts:
        size = "-" if count.diameter_angstrom is None else f"{count.diameter_angstrom / scale:.0f}"
        table.add_row(count.label, size, *_numbers([count], reasons))
    table.add_section()
    table.add_row("total", "", *_numbers(counts, reasons))
    console.print(table)


def _numbers(counts: Sequence[ClassCount], reasons: Sequence[Reason]) -> list[str]:
    found, kept = sum(count.found for count in counts), sum(count.used for count in counts)
    why = [sum(count.left_out.get(reason, 0) for count in counts) for reason in reasons]
    return [f"{number:,}" for number in (found, kept, found - kept, *why)]
