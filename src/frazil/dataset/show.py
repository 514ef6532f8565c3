"""How a plan and a box store are shown: the paper's Table 1 with the reasons, the split, what deserves a warning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.markup import escape as markup
from rich.table import Table

from frazil.core.console import say, say_table, warn
from frazil.dataset.split import GAP, TRAIN, VALIDATION
from frazil.dataset.store import BoxStore
from frazil.dataset.tables import ClassCount, Reason


def print_counts(counts: Sequence[ClassCount], voxel_size_angstrom: float, *, used: str) -> None:
    """Print the paper's Table 1 with a column for each reason; sizes in voxels, or in angstrom where the voxel size is NaN.

    `used` names the column of picks that have, or will have, a box.
    """
    header, *rows, total = _table(counts, voxel_size_angstrom, used)
    table = Table(box=SIMPLE_HEAD)
    for number, name in enumerate(header):
        table.add_column(
            name.replace(" (", "\n(").replace("left out", "left\nout"), justify="right" if number else "left"
        )
    for row in rows:
        table.add_row(*map(markup, row))
    table.add_section()
    table.add_row(*total)
    say_table(table, "counts", [count.model_dump() for count in counts])


def print_store(store: BoxStore) -> None:
    """Print what is in a store, and warn of what is odd about it."""
    print_counts(store.description.counts, store.description.voxel_size_angstrom, used="used")
    for line in _summary(store):
        say(line)
    for line in _warnings(store):
        warn(line)


def store_html(store: BoxStore) -> str:
    """Return the same for a notebook."""
    header, *rows = _table(store.description.counts, store.description.voxel_size_angstrom, "used")
    lines = [
        f"<strong>{escape(str(store.path))}</strong>",
        *map(escape, _summary(store)),
        *(f"warning: {escape(line)}" for line in _warnings(store)),
    ]
    return f"<div>{'<br>'.join(lines)}{pd.DataFrame(rows, columns=header).to_html(index=False, border=0)}</div>"


def _table(counts: Sequence[ClassCount], voxel_size_angstrom: float, used: str) -> list[list[str]]:
    """Return the header, a row per class, and the totals."""
    unit, scale = ("voxels", voxel_size_angstrom) if voxel_size_angstrom > 0 else ("A", 1.0)
    reasons = [reason for reason in Reason if any(count.left_out.get(reason) for count in counts)]
    rows = [["class", f"size ({unit})", "found", used, "left out", *reasons]]
    for count in counts:
        size = "-" if count.diameter_angstrom is None else f"{count.diameter_angstrom / scale:.0f}"
        rows.append([count.label, size, *_numbers([count], reasons)])
    return [*rows, ["total", "", *_numbers(counts, reasons)]]


def _numbers(counts: Sequence[ClassCount], reasons: Sequence[Reason]) -> list[str]:
    found, used = sum(count.found for count in counts), sum(count.used for count in counts)
    why = [sum(count.left_out.get(reason, 0) for count in counts) for reason in reasons]
    return [f"{number:,}" for number in (found, used, found - used, *why)]


def _summary(store: BoxStore) -> list[str]:
    described = store.description
    training, validation, gap = (len(store.boxes(split)) for split in (TRAIN, VALIDATION, GAP))
    where = f" (runs {', '.join(described.validation_runs)})" if described.validation_runs else ""
    in_slabs = validation and described.split_by == "tomogram" and not described.validation_runs
    by = "slabs of the only tomogram" if in_slabs else described.split_by
    between = f", {gap:,} in the gap between them" if gap else ""
    return [
        f"{len(store):,} boxes of {described.box_size_voxel}^3 voxels at {described.voxel_size_angstrom:.3f} A",
        f"split by {by}: {training:,} training, {validation:,} validation{where}{between}",
    ]


def _warnings(store: BoxStore) -> Iterator[str]:
    described, validation = store.description, len(store.boxes("validation"))
    if validation and described.split_by == "particle":
        overlapping = described.overlapping_validation_boxes
        yield (
            f"{overlapping:,} of {validation:,} validation boxes ({overlapping / validation:.1%}) overlap a training box; "
            "a split by tomogram shares no voxel"
        )
    runs = store.particles["run"].unique()
    if not validation and described.curate.validation_fraction == 0:
        yield "no validation boxes, as requested by validation fraction 0"
    elif not validation and described.split_by == "tomogram" and len(runs) == 1:
        yield (
            f"no validation boxes: only run {runs[0]} has boxes, too few or too close to leave some to train on beside a slab "
            "that validates; split by particle to validate within it"
        )
    elif not validation:
        yield "no validation boxes: there is only one box"
    elif untrained := sorted(set(described.labels) - set(store.particles.loc[store.boxes("train"), "label"])):
        yield f"no training box of {', '.join(untrained)}: all of them are in the validation split"
    if unused := [count.label for count in described.counts if count.found and not count.used]:
        yield f"no box of {', '.join(unused)}: the store does not have these classes"
