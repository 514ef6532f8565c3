"""`frazil simulate --like`: which runs of an annotated project are simulated again, and on which grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from frazil.core.console import warn
from frazil.core.errors import AmbiguousTomogramError, MissingTomogramError, PickError, SettingsError
from frazil.core.records import Picks, TomogramHeader
from frazil.core.settings import SourceSettings
from frazil.io.sources import Source, open_source
from frazil.simulation.project import RunPlan
from frazil.simulation.specimen.settings import SpecimenSettings
from frazil.simulation.specimen.specimen import Likeness


@dataclass(frozen=True)
class LikeOptions:
    """Existing picks to simulate again.

    Parameters
    ----------
    project : anything that `frazil.io.sources.open_source` opens.
    source : which of its picks, and which of its tomograms say shape and voxel size.
    runs : only these; empty takes all that have picks.
    voxel_size_angstrom : simulate at this voxel size, over the same extent; None keeps that of the tomograms.
    """

    project: Path
    source: SourceSettings = field(default_factory=SourceSettings)
    runs: tuple[str, ...] = ()
    voxel_size_angstrom: float | None = None

    def parameters(self) -> dict[str, Any]:
        """Return what `simulation.json` says about it."""
        return {
            "project": str(self.project.resolve()),
            "source": self.source.model_dump(mode="json"),
            "voxel_size_angstrom": self.voxel_size_angstrom,
        }


def plan_like(options: LikeOptions, specimen: SpecimenSettings) -> tuple[list[RunPlan], list[str]]:
    """Read picks and headers of a project; no voxels. A missing tomogram has shape and voxel size of `specimen`.

    Return one plan per run, which keeps its name, since its seeds are derived from it; and the picked classes of the whole
    project, so that a choice of runs does not change their numbers in masks.
    """
    if options.voxel_size_angstrom is not None and not options.voxel_size_angstrom > 0:
        raise SettingsError(
            f"voxel size {options.voxel_size_angstrom:g} A: not above 0; give a voxel's edge in angstrom"
        )
    source = open_source(options.project, options.source)
    by_run: dict[str, list[Picks]] = {}
    for some in source.picks():
        by_run.setdefault(some.run, []).append(some)
    for run in options.runs:
        if run not in by_run:
            raise PickError(
                f"{options.project}: no picks in run {run}; runs with picks are {', '.join(sorted(by_run))}"
            )
    runs = sorted(set(options.runs)) or sorted(by_run)
    headers = _headers(source, runs, options, specimen)
    plans = []
    for run in runs:
        _check_picks(options.project, by_run[run])
        first_voxel = np.asarray(headers[run].first_voxel_angstrom)  # where a simulated tomogram has 0
        picks = [replace(some, centers_angstrom=some.centers_angstrom - first_voxel) for some in by_run[run]]
        plans.append(RunPlan(run, run, Likeness(headers[run], picks)))
    filled = [run for run, at in headers.items() if specimen.is_ice_too_thick(at.shape_voxel, at.voxel_size_angstrom)]
    if filled:
        warn(
            f"ice: {specimen.ice_thickness_angstrom:g} A thick in the preset, deeper than the tomogram of {', '.join(filled)}: "
            "ice fills it; ice thickness sets another"
        )
    return plans, sorted({some.label for picks in by_run.values() for some in picks})


def _headers(
    source: Source, runs: Sequence[str], options: LikeOptions, specimen: SpecimenSettings
) -> dict[str, TomogramHeader]:
    """Return the grid of each run: its tomogram's, or that of the settings; at another voxel size over the same extent."""
    headers: dict[str, TomogramHeader] = {}
    missing: list[str] = []
    for run in runs:
        try:
            headers[run] = source.header(run)
        except AmbiguousTomogramError:
            raise
        except MissingTomogramError:
            missing.append(run)
            headers[run] = TomogramHeader(run, specimen.shape_voxel, specimen.voxel_size_angstrom, "preset")
    if missing:
        shape, voxel = "x".join(map(str, specimen.shape_voxel)), specimen.voxel_size_angstrom
        warn(
            f"{source.path}: no tomogram of {', '.join(missing)} at level {options.source.level}, so its shape and voxel size "
            f"are taken from the preset: {shape} voxels (z, y, x) of {voxel:g} A"
        )
    if (edge := options.voxel_size_angstrom) is not None:
        for run, header in headers.items():
            z, y, x = (max(round(extent / edge), 1) for extent in header.extent_angstrom)
            headers[run] = replace(header, shape_voxel=(z, y, x), voxel_size_angstrom=edge)
    return headers


def _check_picks(project: Path, picks: Sequence[Picks]) -> None:
    """Refuse picks of one class by several annotators, and picks whose place is not known."""
    by_label: dict[str, list[Picks]] = {}
    for some in picks:
        by_label.setdefault(some.label, []).append(some)
        if not np.isfinite(some.centers_angstrom).all():
            raise PickError(
                f"{project}: the picks of {some.run} are in voxels and its tomogram is missing, so they have no place; "
                "add the tomogram, or leave the run out"
            )
    for label, several in by_label.items():
        if len(several) > 1:
            who = ", ".join(f"{some.user or 'nobody'} (session {some.session or 'none'})" for some in several)
            raise PickError(
                f"{project}: {label} of {several[0].run} is picked by {who}; choose one by user and session"
            )
