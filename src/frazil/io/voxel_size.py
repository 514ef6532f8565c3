"""Voxel sizes that cannot be true are refused, with the option that mends them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from frazil.core.errors import SourceError
from frazil.core.records import Picks, TomogramHeader

ANISOTROPY_LIMIT = 1e-3
"""Voxels whose edges differ by more than this share are no cubes; below it is rounding of the header's floats."""

UNKNOWN_ANGSTROM = 1.0
"""What programs write into a header when they do not know the voxel size. No tomogram has voxels of exactly 1 A."""


def isotropic_voxel_size(edges_angstrom: tuple[float, float, float], origin: str) -> float:
    """Return the mean edge of a voxel.

    Parameters
    ----------
    edges_angstrom : zyx.
    origin : what has these edges, for the message.

    Raises
    ------
    SourceError : an edge is 0, negative or not finite, or the edges differ by more than 0.1 %.
    """
    edges = np.asarray(edges_angstrom, dtype=np.float64)
    shown = " x ".join(f"{edge:.6g}" for edge in edges)
    if not np.all(np.isfinite(edges)) or np.any(edges <= 0):
        raise SourceError(f"{origin}: a voxel size of {shown} A cannot be; pass the true one, e.g. --voxel-size 10.012")
    if np.ptp(edges) > ANISOTROPY_LIMIT * edges.mean():
        raise SourceError(
            f"{origin}: voxels of {shown} A (z, y, x) are no cubes; resample the tomogram to cubes, "
            "or pass --voxel-size if the header is wrong"
        )
    return float(edges.mean())


def true_voxel_size(
    edges_angstrom: tuple[float, float, float], finest_angstrom: tuple[float, float, float], true_finest_angstrom: float
) -> float:
    """Return the voxel size of a level where the metadata are wrong in all but the ratio between levels.

    Parameters
    ----------
    edges_angstrom, finest_angstrom : voxel edges of the level and of the finest one as the metadata give them, zyx.
    true_finest_angstrom : true voxel size of the finest level.

    Returns
    -------
    angstrom; NaN where the metadata give no ratio, or not the same for all axes.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.asarray(edges_angstrom, dtype=np.float64) / np.asarray(finest_angstrom, dtype=np.float64)
    if not np.all(np.isfinite(ratios)) or np.any(ratios <= 0) or np.ptp(ratios) > ANISOTROPY_LIMIT * ratios.mean():
        return float("nan")
    return true_finest_angstrom * float(ratios.mean())


def refuse_unknown_voxel_size(header: TomogramHeader) -> None:
    """Refuse a voxel size of exactly 1 A where picks in voxels depend on it.

    Raises
    ------
    SourceError : the voxel size is 1.
    """
    if header.voxel_size_angstrom == UNKNOWN_ANGSTROM:
        raise SourceError(
            f"{header.origin}: the header says voxels of 1.0 A, which programs write when they do not know; "
            "pass the true size, e.g. --voxel-size 10.012"
        )


def refuse_picks_beyond_unit_voxels(header: TomogramHeader, picks: Iterable[Picks]) -> None:
    """Refuse a voxel size of exactly 1 A where picks in angstrom lie outside the tomogram that it makes.

    Raises
    ------
    SourceError : the voxel size is 1 and a pick lies outside.
    """
    if header.voxel_size_angstrom != UNKNOWN_ANGSTROM:
        return
    extent = np.asarray(header.extent_angstrom)
    for some in picks:
        outside = ((some.centers_angstrom < 0) | (some.centers_angstrom > extent)).any(axis=1)
        if outside.any():
            raise SourceError(
                f"{header.origin}: voxels of 1.0 A cannot be, {int(outside.sum())} of {len(some)} picks of "
                f"{some.label} would lie "
                "outside; pass the true size, e.g. --voxel-size 10.012"
            )
