"""The option ``--like``: which runs of an annotated project a command makes again, and on which grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from frazil.core.console import warn
from frazil.core.errors import AmbiguousTomogramError, MissingTomogramError, PickError, SettingsError
from frazil.core.files import text_digest
from frazil.core.records import Picks, TomogramHeader
from frazil.core.settings import SourceSettings
from frazil.io.sources import Source, open_source


@dataclass(frozen=True)
class Likeness:
    """Existing picks of one run, to be made again in a tomogram of this shape and voxel size."""

    header: TomogramHeader
    picks: Sequence[Picks]

    @property
    def digest(self) -> str:
        """Digest of the picks, and of the grid they are in."""
        parts = [f"{self.header.shape_voxel} {self.header.voxel_size_angstrom!r}"]
        for some in self.picks:
            rotations = None if some.rotations is None else some.rotations.tolist()
            parts.append(f"{some.label} {some.centers_angstrom.tolist()} {rotations}")
        return text_digest("\n".join(parts))


@dataclass(frozen=True)
class LikeOptions:
    """Existing picks to make again.

    Parameters
    ----------
    project : anything that `frazil.io.sources.open_source` opens.
    source : which of its picks, and which of its tomograms say shape and voxel size.
    runs : only these; empty takes all that have picks.
    voxel_size_angstrom : of what is made, over the same extent; None keeps that of the tomograms.
    """

    project: Path
    source: SourceSettings = field(default_factory=SourceSettings)
    runs: tuple[str, ...] = ()
    voxel_size_angstrom: float | None = None

    def parameters(self) -> dict[str, Any]:
        """Return what the record of a command says about it."""
        return {
            "project": str(self.project.resolve()),
            "source": self.source.model_dump(mode="json"),
            "voxel_size_angstrom": self.voxel_size_angstrom,
        }

    def check_apart(self, out: Path) -> None:
        """Refuse to write into the project itself."""
        if out.resolve() in (self.project.resolve(), self.project.resolve().parent):
            raise SettingsError(f"out {out}: is the project that it is to be like; choose another folder")


def read_likenesses(options: LikeOptions, usual: TomogramHeader) -> tuple[dict[str, Likeness], list[str]]:
    """Read picks and headers of a project, by run; no voxels. A missing tomogram has shape and voxel size of `usual`.

    Also return the picked classes of the whole project, so that a choice of runs does not change their numbers in masks.
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
    headers = _headers(source, runs, options, usual)
    found = {}
    for run in runs:
        _check_picks(options.project, by_run[run])
        first_voxel = np.asarray(headers[run].first_voxel_angstrom)  # what is made has its first voxel at 0
        picks = [replace(some, centers_angstrom=some.centers_angstrom - first_voxel) for some in by_run[run]]
        found[run] = Likeness(headers[run], picks)
    return found, sorted({some.label for picks in by_run.values() for some in picks})


def _headers(
    source: Source, runs: Sequence[str], options: LikeOptions, usual: TomogramHeader
) -> dict[str, TomogramHeader]:
    """Return the grid of each run: its tomogram's, or the usual one; at another voxel size over the same extent."""
    headers: dict[str, TomogramHeader] = {}
    missing: list[str] = []
    for run in runs:
        try:
            headers[run] = source.header(run)
        except AmbiguousTomogramError:
            raise
        except MissingTomogramError:
            missing.append(run)
            headers[run] = replace(usual, run=run)
    if missing:
        shape, voxel = "x".join(map(str, usual.shape_voxel)), usual.voxel_size_angstrom
        warn(
            f"{source.path}: no tomogram of {', '.join(missing)} at level {options.source.level}, so its shape and voxel size "
            f"are taken from the {usual.origin}: {shape} voxels (z, y, x) of {voxel:g} A"
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
