"""What every source of annotated tomograms checks: names, filters by user, session and label, and voxel sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from frazil.core.errors import FrazilError, PickError, SourceError
from frazil.core.memory import machine_memory
from frazil.core.records import SAME_VOXEL_SIZE, Picks, TomogramHeader
from frazil.core.settings import COARSEST_ANGSTROM, FINEST_ANGSTROM, SourceSettings

UNKNOWN_ANGSTROM = 1.0
"""What programs write into a header when they do not know the voxel size. No tomogram has voxels of exactly 1 A."""

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\s_]+')  # by copick, in any name
_TOMOGRAM_SUFFIX = re.compile(r"\.(tomostar|(mrc|rec|map|ccp4)(\.gz|\.bz2)?)$", re.IGNORECASE)


def clean_name(text: str) -> str:
    """Return `text` as a valid copick name: forbidden characters become dashes, as in ``beta-amylase``."""
    return _FORBIDDEN.sub("-", text).strip("-")


def mrc_stem(path: PurePath) -> str | None:
    """Return the name of an MRC file without its suffixes, whatever their case; None for other files, also hidden ones."""
    found = None if path.name.startswith(".") else _TOMOGRAM_SUFFIX.search(path.name)
    return path.name[: found.start()] if found and found[2] else None


def bare_name(tomogram: str) -> str:
    """Return the name of a tomogram in a table without its folder and the suffix of its file."""
    name = PurePath(tomogram.replace("\\", "/")).name
    return _TOMOGRAM_SUFFIX.sub("", name) or name


def check_name(text: str, what: str, error: type[FrazilError]) -> str:
    """Return `text` if copick accepts it as the name of a `what` (label, user, session, ...), else raise `error`."""
    if not text or clean_name(text) != text:
        raise error(
            f"{what} {text!r} is not a valid copick name; use {clean_name(text) or 'a name'!r} (no underscores, "
            "spaces or slashes)"
        )
    return text


def check_run(text: str, error: type[FrazilError]) -> str:
    """Return `text` if it can be the folder of a run, else raise `error`."""
    if not text or text[0] == "." or not text.isprintable() or {"/", "\\"} & {*text} or len(text.encode()) > 200:
        raise error(
            f"run {text[:200]!r} is not a valid folder name; use printable characters, at most 200 bytes, no slashes, and no dot in front"
        )
    return text


class Annotated(Protocol):
    """Picks, or a file of picks that has not been read yet."""

    @property
    def label(self) -> str:
        """Class name."""

    @property
    def user(self) -> str | None:
        """Who picked, None where the format does not say."""

    @property
    def session(self) -> str | None:
        """The user's session, None where the format does not say."""


T = TypeVar("T", bound=Annotated)


def select(candidates: Sequence[T], settings: SourceSettings, origin: str) -> list[T]:
    """Return the candidates that pass the filters of `settings`; an empty filter passes all. Nothing left is an error."""
    if not candidates:
        raise PickError(f"{origin}: no picks; each run needs a folder Picks with <user>_<session>_<object>.json")
    filters = {"label": settings.labels, "user": settings.users, "session": settings.sessions}
    for what, wanted in filters.items():
        known = sorted({str(value) for candidate in candidates if (value := getattr(candidate, what)) is not None})
        unknown = ", ".join(sorted(set(wanted) - set(known)))
        if unknown and not known:
            raise PickError(f"{origin}: picks of {what} {unknown} requested, but no pick has a {what}; drop the filter")
        if unknown:
            raise PickError(f"{origin}: no picks of {what} {unknown}; choose from {', '.join(known)}")
    chosen = [
        c for c in candidates if all(not wanted or getattr(c, what) in wanted for what, wanted in filters.items())
    ]
    if not chosen:
        asked = ", ".join(f"{what} {'/'.join(wanted)}" for what, wanted in filters.items() if wanted)
        there = sorted({f"{c.label} by {c.user or 'nobody named'} (session {c.session or 'none'})" for c in candidates})
        raise PickError(f"{origin}: no picks match {asked} together; choose from {', '.join(there)}")
    return chosen


def best(picks: Picks, least: float | None) -> Picks:
    """Return the picks with a score of at least `least`; all where it is None."""
    if least is None:
        return picks
    if picks.scores is None:
        raise PickError(f"{picks.origin}: min score {least:g}, but its picks have no score; leave it out")
    kept = picks.scores >= least
    turned = None if picks.rotations is None else picks.rotations[kept]
    return replace(picks, centers_angstrom=picks.centers_angstrom[kept], rotations=turned, scores=picks.scores[kept])


def check_fits_memory(shape_voxel: Sequence[int], origin: str) -> None:
    """Refuse a volume that, as float32, is larger than the memory of this machine."""
    needed, there = 4 * math.prod(shape_voxel), machine_memory()
    if needed > there:
        raise SourceError(
            f"{origin}: {' x '.join(map(str, shape_voxel))} voxels (z, y, x) take {needed / 1e9:,.0f} GB, and this machine has "
            f"{there / 1e9:,.0f} GB; take a coarser one"
        )


def isotropic_voxel_size(edges_angstrom: ArrayLike, origin: str) -> float:
    """Return the mean of the zyx edges of a voxel; `origin`, what has them, is named if they make no cube."""
    edges = np.asarray(edges_angstrom, dtype=np.float64)
    shown = " x ".join(f"{edge:.6g}" for edge in edges)
    if not np.all((edges >= FINEST_ANGSTROM) & (edges <= COARSEST_ANGSTROM)):  # nor NaN
        raise SourceError(f"{origin}: {shown} A is not a valid voxel size; pass the true one, e.g. voxel size 10.012")
    if np.ptp(edges) > SAME_VOXEL_SIZE * edges.mean():
        raise SourceError(
            f"{origin}: voxels of {shown} A (z, y, x) are not cubes; resample the tomogram to cubes, "
            "or pass the true voxel size if the header is wrong"
        )
    return float(edges.mean())


def true_voxel_size(edges_angstrom: ArrayLike, finest_angstrom: ArrayLike, true_finest_angstrom: float) -> float:
    """Return the voxel size of a level where the metadata are wrong in all but the ratio between levels.

    `edges_angstrom` and `finest_angstrom` are the zyx edges of the level and of the finest one as the metadata give them. NaN
    where they give no ratio, or not the same for all axes.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.asarray(edges_angstrom, dtype=np.float64) / np.asarray(finest_angstrom, dtype=np.float64)
    if not np.all(np.isfinite(ratios)) or np.any(ratios <= 0) or np.ptp(ratios) > SAME_VOXEL_SIZE * ratios.mean():
        return float("nan")
    return true_finest_angstrom * float(ratios.mean())


def refuse_unknown_voxel_size(header: TomogramHeader) -> None:
    """Refuse a voxel size of exactly 1 A where picks in voxels depend on it."""
    if header.voxel_size_angstrom == UNKNOWN_ANGSTROM:
        raise SourceError(
            f"{header.origin}: its header says 1.0 A per voxel, which programs write when they do not know; "
            "pass the true one, e.g. voxel size 10.012"
        )


def refuse_picks_beyond_unit_voxels(header: TomogramHeader, picks: Iterable[Picks]) -> None:
    """Refuse a voxel size of exactly 1 A where picks in angstrom would then lie outside the tomogram."""
    if header.voxel_size_angstrom != UNKNOWN_ANGSTROM:
        return
    for some in picks:
        centers_voxel = header.to_voxel(some.centers_angstrom)
        outside = int(((centers_voxel < 0) | (centers_voxel > header.shape_voxel)).any(axis=1).sum())
        if outside:
            raise SourceError(
                f"{header.origin}: its header says 1.0 A per voxel, but then {outside} of {len(some)} picks of {some.label} "
                "lie outside; pass the true one, e.g. voxel size 10.012"
            )
