"""MRC files: the header without the voxels, the voxels, and a writer that says the true voxel size."""

from __future__ import annotations

import bz2
import gzip
import io
import math
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import mrcfile
import numpy as np
from mrcfile.mrcinterpreter import MrcInterpreter

from frazil.core.errors import SourceError
from frazil.core.files import atomic_path
from frazil.core.reading import check_plain_file, one_line
from frazil.core.records import TomogramHeader
from frazil.core.version import SIMULATED_BY, signature
from frazil.io.checks import check_fits_memory, isotropic_voxel_size, mrc_stem

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

HEADER_BYTES = 1024

_MODES = {0: np.int8, 1: np.int16, 2: np.float32, 6: np.uint16, 12: np.float16}
_COMPLEX_MODES = (3, 4)
_IMOD_STAMP = 1146047817
_IMOD_SIGNED_BYTES = 1


class _Voxels(NamedTuple):
    """How the voxels lie in a file: after an extended header of so many bytes, if it is as long as that needs."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    extended: int

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def start(self, path: Path, found: int) -> int:
        """Return where they begin in a file of `found` bytes; some programs promise an extended header that they do not write."""
        expected = HEADER_BYTES + self.extended + self.size
        if found == HEADER_BYTES + self.size:
            return HEADER_BYTES
        if found < expected:
            raise SourceError(f"{path}: truncated, {found} bytes of {expected}; copy the file again")
        return HEADER_BYTES + self.extended


def read_header(path: Path, voxel_size_angstrom: float | None = None) -> TomogramHeader:
    """Read what the header says, and check that the file is as long as it must be. The run is named like the file.

    `voxel_size_angstrom` is used instead of the header's.
    """
    return _read_header(path, voxel_size_angstrom)[0]


def _read_header(path: Path, voxel_size_angstrom: float | None) -> tuple[TomogramHeader, _Voxels]:
    with _opened(path) as stream:
        compressed = not isinstance(stream, io.BufferedReader)
        found = None if compressed else path.stat().st_size
        content = stream.read(HEADER_BYTES)
    header = _parse_header(path, content)
    shape = (int(header.nz), int(header.ny), int(header.nx))
    mode, extended = int(header.mode), int(np.frombuffer(content[92:96], dtype=header.mode.dtype)[0])
    axes = (int(header.mapc), int(header.mapr), int(header.maps))
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
    dtype = np.dtype(np.uint8) if mode == 0 and _unsigned_bytes(header) else np.dtype(_MODES[mode])
    voxels = _Voxels(shape, dtype.newbyteorder(header.mode.dtype.byteorder), extended)
    check_fits_memory(shape, str(path))
    if found is not None:
        voxels.start(path, found)
    if int(header.ispg) in range(401, 631):
        raise SourceError(f"{path}: a stack of volumes, not one tomogram; write each volume to its own file")
    if axes not in ((1, 2, 3), (0, 0, 0)):
        raise SourceError(f"{path}: axes in the order {axes}, not (1, 2, 3); rewrite it with x as the fastest axis")
    voxel_size = voxel_size_angstrom
    if voxel_size is None:
        cell = [float(header.cella[axis]) for axis in "zyx"]
        grid = [int(header[f"m{axis}"]) for axis in "zyx"]
        voxel_size = isotropic_voxel_size(np.divide(cell, grid if all(grid) else shape), str(path))
    simulated = bytes(header.label[0]).startswith(SIMULATED_BY.encode())
    name = mrc_stem(path) or path.stem
    return TomogramHeader(name, shape, voxel_size, origin=str(path), simulated=simulated), voxels


def _unsigned_bytes(header: Any) -> bool:
    """Return whether voxels of mode 0 are unsigned, as IMOD and old programs have them; the standard of 2014 says signed."""
    stamp, flags = np.frombuffer(bytes(header.extra2)[40:48], dtype=header.mode.dtype)
    if stamp == _IMOD_STAMP:
        return not int(flags) & _IMOD_SIGNED_BYTES
    return float(header.dmax) > np.iinfo(np.int8).max


def read_volume(path: Path, planes: slice | None = None) -> Float[np.ndarray, "z y x"]:
    """Read the voxels as float32, all or only some planes. A voxel size of 0 does not matter here."""
    _, voxels = _read_header(path, voxel_size_angstrom=1.0)
    with _opened(path) as stream:
        if planes is not None and isinstance(stream, io.BufferedReader):
            shape = (planes.stop - planes.start, *voxels.shape[1:])
            plane = math.prod(voxels.shape[1:]) * voxels.dtype.itemsize
            stream.seek(voxels.start(path, path.stat().st_size) + planes.start * plane)
            some = bytearray(shape[0] * plane)
            stream.readinto(some)
            return np.frombuffer(some, dtype=voxels.dtype).astype(np.float32, copy=False).reshape(shape)
        # no more than the header asks for: a compressed file may hold any number of zeros
        content = stream.read(HEADER_BYTES + voxels.extended + voxels.size)
    start = voxels.start(path, len(content))
    flat = np.frombuffer(content, dtype=voxels.dtype, count=math.prod(voxels.shape), offset=start)
    return flat.astype(np.float32).reshape(voxels.shape)[planes or slice(None)]


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
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that may be compressed, whatever its name."""
    check_plain_file(path, SourceError)
    try:
        with path.open("rb") as plain:
            start = plain.read(3)
        how: Any = gzip.open if start[:2] == b"\x1f\x8b" else bz2.open if start == b"BZh" else open
        with how(path, "rb") as stream:
            yield stream
    except PermissionError:
        raise SourceError(f"{path}: permission denied; make it readable") from None
    except (OSError, EOFError, zlib.error) as fault:
        raise SourceError(f"{path}: cannot be read ({one_line(fault)}); copy the file again") from None


def _parse_header(path: Path, content: bytes) -> Any:
    """Return the header; old files lack the map mark, so that is not asked for. `nsymbt` is 0."""
    if len(content) < HEADER_BYTES:
        raise SourceError(f"{path}: {len(content)} bytes, so it is not an MRC file; check the file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            # without the length of an extended header, which may be any number
            without = io.BytesIO(content[:92] + bytes(4) + content[96:])
            header = MrcInterpreter(without, permissive=True, header_only=True).header
    except (ValueError, OSError) as fault:
        raise SourceError(f"{path}: not an MRC file ({one_line(fault)}); check the file") from None
    return header
