"""What is to be cut: every annotated particle and its place, from picks and headers, before any voxel is read."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from frazil.core.errors import MissingTomogramError, PickError, SettingsError
from frazil.core.files import text_digest
from frazil.core.records import TiltRange, TomogramHeader, same_voxel_size
from frazil.core.settings import CurateSettings, SourceSettings
from frazil.dataset.tables import (
    BOX_CENTER,
    CENTER_ANGSTROM,
    CENTER_VOXEL,
    POSITION,
    ClassCount,
    Reason,
    annotated_particles,
    count_classes,
    find_duplicates,
    find_outside,
    summary,
)
from frazil.io.sources import Source

CUTTING = {"box_size_voxel", "voxel_size_angstrom", "max_padding", "drop_outside"}
"""The settings that decide which boxes there are; the others decide the split."""

_LATER = ("units", "contrast", "match", "min_score")
"""Settings of the source that frazil 0.1 did not have."""

_DUPLICATE_VOXEL = 0.5
"""Two picks of one class that are closer than this are one particle."""

_FARTHEST_ANGSTROM = 1e10
"""A meter."""

_MOST_NAMED = 8  # of the runs without a tomogram


@dataclass(frozen=True)
class CurationPlan:
    """All annotated particles, and what becomes of them.

    Parameters
    ----------
    particles : `annotated_particles` with `CENTER_VOXEL`, `POSITION`, `BOX_CENTER` (NaN without a tomogram),
        `duplicate`, and `reason`, which is empty for those that are to be cut.
    labels : requested classes, sorted; also those without a pick.
    headers, missing : by run: the header of its tomogram, or why it has none.
    voxel_size_angstrom : of the boxes; NaN where nothing says it.
    tilt_range_degrees : of all tomograms; None where it is not known or differs.
    digest : of everything that decides which boxes there are and what is in them.
    """

    source_path: Path
    source_kind: str
    source_settings: SourceSettings
    settings: CurateSettings
    particles: pd.DataFrame
    labels: tuple[str, ...]
    radii_angstrom: dict[str, float]
    headers: dict[str, TomogramHeader]
    missing: dict[str, str]
    voxel_size_angstrom: float
    tilt_range_degrees: TiltRange | None
    digest: str

    def to_cut(self) -> pd.DataFrame:
        """Return the particles that are to be cut, sorted by run; the index is the row in `particles`."""
        return self.particles[self.particles["reason"] == Reason.KEPT].sort_values("run", kind="stable")

    def ratio(self, run: str) -> float:
        """See `_ratio`."""
        return _ratio(self.headers[run], self.voxel_size_angstrom)

    def box_grid(self, run: str) -> TomogramHeader:
        """Return the tomogram of a run as if its voxels were those of the boxes: its own, unless they are resampled."""
        header = self.headers[run]
        return header if self.ratio(run) == 1 else replace(header, voxel_size_angstrom=self.voxel_size_angstrom)

    def counts(self) -> tuple[ClassCount, ...]:
        """Count the picks by class, and by why they will not be cut."""
        return count_classes(self.particles, self.labels, self.radii_angstrom)


def make_plan(source: Source, source_settings: SourceSettings, settings: CurateSettings) -> CurationPlan:
    """Plan the boxes of a source that was opened *without* a filter by label, because all classes count as neighbors.

    What the picks and tomograms make impossible is refused by `check_plan`, so that a dry run can still show the table.
    """
    picks = source.picks()
    known = sorted({some.label for some in picks})
    labels = tuple(sorted(set(source_settings.labels))) or tuple(known)
    if unknown := sorted(set(labels) - set(known)):
        there = ", ".join(known) or "none"
        raise PickError(f"{source.path}: no picks of label {', '.join(unknown)}; choose among {there}")
    particles = annotated_particles(picks)
    _check_places(source.path, particles)
    headers, missing = {}, {}
    for run in sorted(particles["run"].unique()):
        try:
            headers[run] = source.header(run)
        except MissingTomogramError as error:
            missing[run] = str(error)
    voxel_size = settings.voxel_size_angstrom or _common_voxel_size(headers)
    tilts = {header.tilt_range_degrees for header in headers.values()}
    return CurationPlan(
        source_path=source.path,
        source_kind=source.kind,
        source_settings=source_settings,
        settings=settings,
        particles=_place(particles, labels, headers, voxel_size),
        labels=labels,
        radii_angstrom=source.radii_angstrom(),
        headers=headers,
        missing=missing,
        voxel_size_angstrom=voxel_size,
        tilt_range_degrees=tilts.pop() if len(tilts) == 1 else None,
        digest=_digest(particles, headers, source_settings, settings),
    )


def _check_places(path: Path, particles: pd.DataFrame) -> None:
    """Refuse coordinates that no tomogram reaches: distances between them are no numbers."""
    far = (particles[CENTER_ANGSTROM].abs() > _FARTHEST_ANGSTROM).any(axis=1)
    if far.any():
        first = particles[far].iloc[0]
        place = ", ".join(f"{value:.3g}" for value in first[CENTER_ANGSTROM])
        raise PickError(
            f"{path}: a {first['label']} of {first['run']} lies at ({place}) A (z, y, x), farther than any tomogram reaches; correct "
            "the coordinates, or their units"
        )


def check_plan(plan: CurationPlan) -> None:
    """Refuse what cannot be curated."""
    if not len(plan.particles):
        raise PickError(f"{plan.source_path}: its pick files have no particles; check the path, user and session")
    if empty := sorted(set(plan.source_settings.labels) - set(plan.particles["label"])):
        raise PickError(f"{plan.source_path}: label {', '.join(empty)} was requested and has no picks; leave it out")
    if not plan.headers:
        first = next(iter(plan.missing.values()))
        others = sum(why != first for why in plan.missing.values())
        raise MissingTomogramError(first + (f" ({others} more runs have no tomogram either)" if others else ""))
    runs = sorted(plan.headers)
    if unknown := sorted(set(plan.settings.validation_runs) - set(runs)):
        raise SettingsError(
            f"validation run {', '.join(unknown)}: no such run with picks and a tomogram; there are {', '.join(runs)}"
        )
    outside = plan.particles[plan.particles["reason"] == Reason.OUTSIDE]
    if len(outside) and not plan.settings.drop_outside:
        raise _outside_error(plan, outside)
    if not len(plan.to_cut()):
        why = summary(plan.particles)
        raise PickError(f"{plan.source_path}: no pick is left to cut ({why}); check label, level and voxel size")


def plan_warnings(plan: CurationPlan) -> list[str]:
    """Return what a user should know before the boxes are cut, one line each; where nothing can be cut, `check_plan` says why."""
    lines = _missing_lines(plan) if plan.headers else []
    lines += [f"label {count.label} has no picks" for count in plan.counts() if not count.found]
    asked = plan.particles[plan.particles["label"].isin(plan.labels)]
    annotators = asked[["run", "label", "user", "session"]].drop_duplicates()
    if several := int((annotators.groupby(["run", "label"]).size() > 1).sum()):
        people = annotators[["user", "session"]].drop_duplicates().sort_values(["user", "session"])
        names = ", ".join(f"{user or '-'} (session {session or '-'})" for user, session in people.to_numpy())
        lines.append(
            f"picks of one class in one run come from several annotators ({several} cases): {names}; "
            "choose by user and session, or particles may count twice"
        )
    lines += _same_places(asked)
    if len({header.tilt_range_degrees for header in plan.headers.values()}) > 1:
        lines.append("the tomograms differ in tilt range, so the store names none")
    return lines


def _same_places(asked: pd.DataFrame) -> list[str]:
    """Return a line for each two classes of which most picks of the smaller one are picks of the other too."""
    rounded = asked[["run", "label"]].join(asked[CENTER_ANGSTROM].round(1)).dropna().drop_duplicates()
    pairs = rounded.merge(rounded, on=["run", *CENTER_ANGSTROM], suffixes=("", "_other"))
    counts = rounded["label"].value_counts()
    shared = pairs[pairs["label"] < pairs["label_other"]].groupby(["label", "label_other"]).size().reset_index(name="n")
    return [
        f"{n} of the picks of {one} and {other} are at the same places; if one is a copy, leave it out by label"
        for one, other, n in shared.itertuples(index=False)
        if 2 * n > min(counts[one], counts[other])
    ]


def _missing_lines(plan: CurationPlan) -> list[str]:
    """Return one line per reason; reasons that differ only in the run's name are one, given for the first run."""
    per_run = plan.particles["run"].value_counts()
    same = defaultdict(list)
    for run, why in plan.missing.items():
        same[re.sub(rf"(?<![A-Za-z0-9]){re.escape(run)}(?![A-Za-z0-9])", "*", why)].append(run)
    lines = []
    for runs in same.values():
        names = ", ".join([*runs[:_MOST_NAMED], *(["..."] if len(runs) > _MOST_NAMED else [])])
        who = (
            f"{names} has no tomogram, its" if len(runs) == 1 else f"{len(runs)} runs have no tomogram ({names}), their"
        )
        lines.append(f"{who} {per_run[runs].sum()} picks are left out: {plan.missing[runs[0]]}")
    return lines


def _common_voxel_size(headers: dict[str, TomogramHeader]) -> float:
    if not headers:
        return math.nan
    sizes = {run: header.voxel_size_angstrom for run, header in headers.items()}
    smallest, largest = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    if not same_voxel_size(sizes[largest], sizes[smallest]):
        raise SettingsError(
            f"the tomograms differ in voxel size ({smallest} {sizes[smallest]:.3f} A, "
            f"{largest} {sizes[largest]:.3f} A); resample all boxes to {sizes[largest]:.3f} A"
        )
    return sizes[min(sizes)]


def _ratio(header: TomogramHeader, voxel_size_angstrom: float) -> float:
    """Return voxel size of the boxes / voxel size of the tomogram; exactly 1 where they are the same."""
    same = same_voxel_size(voxel_size_angstrom, header.voxel_size_angstrom)
    return 1.0 if same else voxel_size_angstrom / header.voxel_size_angstrom


def _place(
    annotated: pd.DataFrame, labels: tuple[str, ...], headers: dict[str, TomogramHeader], voxel_size_angstrom: float
) -> pd.DataFrame:
    """Add where the particles lie in their tomogram, which are duplicates, and why they cannot be cut."""
    particles = annotated.copy()
    particles[[*CENTER_VOXEL, *POSITION, *BOX_CENTER]] = np.nan
    known = particles["run"].isin(headers)
    each = list(headers.values())
    row = particles.loc[known, "run"].map({run: number for number, run in enumerate(headers)}).to_numpy(dtype=np.int64)
    sizes = np.array([header.voxel_size_angstrom for header in each]).reshape(-1, 1)[row]
    firsts = np.array([header.first_voxel_angstrom for header in each]).reshape(-1, 3)[row]
    shapes = np.array([header.shape_voxel for header in each]).reshape(-1, 3)[row]
    ratios = np.array([_ratio(header, voxel_size_angstrom) for header in each]).reshape(-1, 1)[row]
    centers_voxel = (particles.loc[known, CENTER_ANGSTROM].to_numpy(dtype=np.float64) - firsts) / sizes
    particles.loc[known, CENTER_VOXEL] = centers_voxel
    particles.loc[known, POSITION] = np.clip(centers_voxel / shapes, 0, 1)
    # interpolation centers a box exactly, a plain crop on the nearest voxel
    particles.loc[known, BOX_CENTER] = np.where(ratios == 1.0, np.rint(centers_voxel), centers_voxel / ratios)
    outside = pd.Series(False, index=particles.index)
    outside[known] = find_outside(centers_voxel, shapes)
    duplicate, centers = np.zeros(len(particles), dtype=bool), particles[CENTER_ANGSTROM].to_numpy(dtype=np.float64)
    rows_of: dict[Any, Any] = particles.groupby(["run", "label"]).indices
    for (run, _), same in rows_of.items():
        # without a voxel size, only picks at the same place are known to be the same
        distance = _DUPLICATE_VOXEL * headers[run].voxel_size_angstrom if run in headers else 1e-3
        duplicate[same] = find_duplicates(centers[same], distance)
    particles["duplicate"] = duplicate
    particles["reason"] = Reason.KEPT.value
    for reason, applies in {
        Reason.OTHER_LABEL: ~particles["label"].isin(labels),
        Reason.NO_TOMOGRAM: ~known,
        Reason.OUTSIDE: outside,
        Reason.DUPLICATE: particles["duplicate"],
    }.items():
        particles.loc[applies & (particles["reason"] == Reason.KEPT), "reason"] = reason.value
    return particles


def _outside_error(plan: CurationPlan, outside: pd.DataFrame) -> PickError:
    first = outside.iloc[0]
    header = plan.headers[first["run"]]
    asked = plan.particles["label"].isin(plan.labels) & (plan.particles["run"] == first["run"])
    count = int((outside["run"] == first["run"]).sum())
    more = f" (and {len(outside) - count} in other runs)" if len(outside) > count else ""
    place = ", ".join(f"{value:.1f}" for value in first[CENTER_VOXEL])
    shape = " x ".join(map(str, header.shape_voxel))
    return PickError(
        f"{header.origin}: {count} of {int(asked.sum())} picks of {first['run']} lie outside the tomogram{more}, the "
        f"first is {first['label']} at voxel ({place}) of {shape} (zyx, {header.voxel_size_angstrom:.3f} A); "
        "pass --drop-outside (in Python: drop_outside=True) to leave them out, or the true voxel size if the header is wrong"
    )


def _digest(
    particles: pd.DataFrame, headers: dict[str, TomogramHeader], source: SourceSettings, settings: CurateSettings
) -> str:
    """Return the digest of what decides the boxes; where the source lies does not."""
    content = {
        "picks": particles.to_csv(index=False),
        "tomograms": {
            run: [
                *header.shape_voxel,
                header.voxel_size_angstrom,
                header.tilt_range_degrees,
                *((header.first_voxel_angstrom,) if any(header.first_voxel_angstrom) else ()),
            ]
            for run, header in headers.items()
        },
        # what came later counts only where it is used, so that digests stay what they were
        "source": source.model_dump(
            mode="json",
            exclude={"picks_file", "more_picks_file"}
            | {name for name in _LATER if getattr(source, name) in (None, ())},
        ),
        "cutting": settings.model_dump(mode="json", include=CUTTING),
    }
    return text_digest(json.dumps(content, sort_keys=True))
