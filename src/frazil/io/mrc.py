"""MRC files: the header without the voxels, the voxels, and a writer that says the true voxel size."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mrcfile
import numpy as np

from frazil.core.errors import SourceError
from frazil.core.files import atomic_path
from frazil.core.records import TomogramHeader
from frazil.core.version import SIMULATED_BY, signature
from frazil.io.checks import isotropic_voxel_size

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

HEADER_BYTES = 1024

_MODES = {0: np.int8, 1: np.int16, 2: np.float32, 6: np.uint16, 12: np.float16}
_COMPLEX_MODES = (3, 4)


def read_header(path: Path, voxel_size_angstrom: float | None = None) -> TomogramHeader:
    """Read what the header says, and check that the file is as long as it must be. The run is named like the file.

    `voxel_size_angstrom` is used instead of the header's.
    """
    with _open(path, header_only=True) as mrc:
        header = mrc.header
        shape = (int(header.nz), int(header.ny), int(header.nx))
        mode, extended = int(header.mode), int(header.nsymbt)
        axes = (int(header.mapc), int(header.mapr), int(header.maps))
        edges = (float(mrc.voxel_size.z), float(mrc.voxel_size.y), float(mrc.voxel_size.x))
        stack = int(header.ispg) in range(401, 631)
        simulated = bytes(header.label[0]).startswith(SIMULATED_BY.encode())
    if min(shape) < 1 or extended < 0:
        raise SourceError(
            f"{path}: {shape} (z, y, x) voxels in the header, so it is not an MRC tomogram; check the file"
        )
    if mode in _COMPLEX_MODES:
        raise SourceError(
            f"{path}: complex voxels (mode {mode}), a Fourier transform; write the tomogram itself, as float32 (mode 2)"
        )
    if mode not in _MODES:
        raise SourceError(f"{path}: voxels of mode {mode} are not understood; convert to float32 (mode 2)")
    expected = HEADER_BYTES + extended + math.prod(shape) * np.dtype(_MODES[mode]).itemsize
    if (found := path.stat().st_size) < expected:
        raise SourceError(f"{path}: truncated, {found} bytes of {expected}; copy the file again")
    if stack:
        raise SourceError(f"{path}: a stack of volumes, not one tomogram; write each volume to its own file")
    if axes not in ((1, 2, 3), (0, 0, 0)):
        raise SourceError(f"{path}: axes in the order {axes}, not (1, 2, 3); rewrite it with x as the fastest axis")
    voxel_size = voxel_size_angstrom if voxel_size_angstrom is not None else isotropic_voxel_size(edges, str(path))
    return TomogramHeader(path.stem, shape, voxel_size, origin=str(path), simulated=simulated)


def read_volume(path: Path) -> Float[np.ndarray, "z y x"]:
    """Read the voxels as float32. A voxel size of 0 does not matter here."""
    shape = read_header(path, voxel_size_angstrom=1.0).shape_voxel
    with _open(path, header_only=False) as mrc:
        return np.asarray(mrc.data, dtype=np.float32).reshape(shape)


def write_volume(
    path: Path, volume: Shaped[np.ndarray, "z y x"], voxel_size_angstrom: float, *, simulated: bool = False
) -> None:
    """Write float32 (mode 2), whole or not at all; the same volume gives the same bytes.

    `simulated` is said in the label of the header.
    """
    with atomic_path(path) as temporary, mrcfile.new(temporary, overwrite=True) as mrc:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Data array contains", RuntimeWarning)  # NaN is the caller's to judge
            mrc.set_data(np.ascontiguousarray(volume, dtype=np.float32))
        mrc.set_volume()
        mrc.voxel_size = voxel_size_angstrom
        mrc.header.label = b""  # mrcfile puts the time of writing here
        mrc.header.label[0] = signature(simulated=simulated).encode()
        mrc.header.nlabl = 1


@contextmanager
def _open(path: Path, *, header_only: bool) -> Iterator[Any]:
    try:
        with warnings.catch_warnings():
            # permissive: old files lack the map mark; we check for ourselves
            warnings.simplefilter("ignore", RuntimeWarning)
            mrc = mrcfile.open(path, permissive=True, header_only=header_only)
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file; check the path") from None
    except PermissionError:
        raise SourceError(f"{path}: permission denied; make it readable") from None
    except (ValueError, OSError) as fault:
        raise SourceError(f"{path}: not an MRC file ({fault}); check the file") from None
    with mrc:
        yield mrc
