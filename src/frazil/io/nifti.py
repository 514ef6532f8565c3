"""Writing NIfTI-1, which segmentation networks of medicine read."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from frazil.core.files import atomic_path

if TYPE_CHECKING:
    from jaxtyping import Shaped

_DATATYPES = {"float32": 16, "uint8": 2}
_SCANNER = 1


def write_nifti(path: Path, volume: Shaped[np.ndarray, "z y x"], voxel_size: float) -> None:
    """Write a float32 or uint8 volume as ``.nii.gz``, whole or not at all; x is its first axis, as the format has it."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *volume.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _DATATYPES[volume.dtype.name], 8 * volume.dtype.itemsize)
    struct.pack_into("<8f", header, 76, 1, *[voxel_size] * 3, 0, 0, 0, 0)
    struct.pack_into("<f", header, 108, len(header))
    struct.pack_into("<h", header, 254, _SCANNER)
    struct.pack_into("<12f", header, 280, voxel_size, 0, 0, 0, 0, voxel_size, 0, 0, 0, 0, voxel_size, 0)
    header[344:348] = b"n+1\0"
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream,
    ):
        stream.write(header)
        stream.write(np.ascontiguousarray(volume.astype(volume.dtype.newbyteorder("<"), copy=False)).tobytes())
