"""Sets of central slices: an NPZ archive with `slices (n, 3, N, N)` and `labels (n,)`, or a folder of volumes.

In the archive the slices lie as they are drawn: XY has rows y and columns x, XZ rows z and columns x, YZ rows y and columns z.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frazil.core.errors import ShapeError, SourceError
from frazil.core.reading import one_line
from frazil.core.settings import COARSEST_ANGSTROM, FINEST_ANGSTROM
from frazil.core.slices import SliceSet
from frazil.io.labelled_folder import common_cube, read_labelled_folder
from frazil.io.mrc import read_volume
from frazil.io.npz import read_npz

_LARGEST_BYTES = {"slices": 4 << 30, "labels": 64 << 20, "voxel_size_angstrom": 1 << 10}
_EXPECTED = "an NPZ archive of slices (n, 3, N, N), numbers, and labels (n), text"


def read_slices(path: Path, *, voxel_size_angstrom: float | None = None) -> SliceSet:
    """Read a set of slices.

    Parameters
    ----------
    voxel_size_angstrom : where the archive (``voxel_size_angstrom``) does not say; instead of what the headers of a folder say.

    Raises
    ------
    SourceError : no such file, or it holds something else.
    """
    found = (_from_folder if path.is_dir() else _from_archive)(path, voxel_size_angstrom)
    if not np.isfinite(found.slices).all():
        raise SourceError(f"{path}: NaN or infinite gray values; leave those subtomograms out")
    return found


def _from_archive(path: Path, voxel_size_angstrom: float | None) -> SliceSet:
    archive = read_npz(path, _LARGEST_BYTES, remedy=f"it must be {_EXPECTED}")
    try:
        slices, labels = archive["slices"], archive["labels"]
        voxel_size = float(archive.get("voxel_size_angstrom", voxel_size_angstrom or 0.0))
    except (KeyError, ValueError, TypeError) as fault:
        raise SourceError(f"{path}: {one_line(fault)}; it must be {_EXPECTED}") from None
    if voxel_size and not FINEST_ANGSTROM <= voxel_size <= COARSEST_ANGSTROM:
        raise SourceError(f"{path}: a voxel size of {voxel_size:g} A; correct voxel_size_angstrom in it")
    if not voxel_size:
        raise SourceError(f"{path}: says no voxel size; pass the voxel size, or add voxel_size_angstrom to it")
    if slices.dtype.kind not in "fiu" or labels.dtype.kind != "U" or labels.ndim != 1 or slices.ndim != 4:
        raise SourceError(
            f"{path}: slices {slices.dtype} {slices.shape}, labels {labels.dtype} {labels.shape}; it must be {_EXPECTED}"
        )
    drawn = slices.astype(np.float32)
    try:
        found = SliceSet(drawn, tuple(labels.tolist()), voxel_size)
    except ShapeError as fault:
        raise SourceError(f"{path}: {fault}") from None
    drawn[:, 2] = drawn[:, 2].transpose(0, 2, 1).copy()
    return found


def _from_folder(path: Path, voxel_size_angstrom: float | None) -> SliceSet:
    files = read_labelled_folder(path)
    header = common_cube(path, [entry.file for entry in files], voxel_size_angstrom)
    volumes = (read_volume(path / entry.file) for entry in files)
    return SliceSet.of_volumes(volumes, [entry.label for entry in files], header.voxel_size_angstrom)
