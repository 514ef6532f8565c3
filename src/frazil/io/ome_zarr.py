"""OME-Zarr (NGFF 0.4, Zarr v2) tomograms: read a level of the pyramid and which of its chunks exist; write a pyramid.

Conventions. The scale in the metadata is the truth, whatever a folder is called. Angstrom are counted from the
center of voxel (0, 0, 0), at every level, unless a translation in the metadata says where that voxel lies:
``centers_voxel = (centers_angstrom - first_voxel_angstrom) / voxel_size_angstrom``. (A level is the mean of 2 x 2 x 2 voxels
of the one above, so strictly the center of its first voxel lies half a finer voxel away, a quarter of its own. Tools that
write this as a translation are followed; the metadata of copick and of the CZII data set do not carry it, and ours neither.)

A chunk is present if it is stored under the key that it is read by. The separator in the key is the one that .zarray names,
or the other one where all chunks are stored under that.
"""

from __future__ import annotations

import json
import os
import re
from collections import ChainMap
from collections.abc import Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numcodecs import Blosc, blosc

from frazil.core.errors import MissingTomogramError, SourceError
from frazil.core.files import atomic_path
from frazil.core.memory import machine_memory
from frazil.core.reading import parse_json, read_through
from frazil.core.records import TiltRange
from frazil.io.checks import check_fits_memory, isotropic_voxel_size, true_voxel_size
from frazil.io.zarr_arrays import open_array

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Shaped

SHORTEST_EDGE_VOXEL = 8
"""Of the coarsest level that `write_pyramid` is asked for."""

LARGEST_CHUNK_VOXEL = 128
_COPY = "copy the tomogram again"
ATTRIBUTE = "frazil"
"""Key in .zattrs for what NGFF has no field for: the tilt range, and whether the tomogram is simulated."""

_ANGSTROM_PER_UNIT = {
    "angstrom": 1.0,
    "picometer": 1e-2,
    "nanometer": 1e1,
    "micrometer": 1e4,
    "millimeter": 1e7,
    "meter": 1e10,
}


@dataclass(frozen=True)
class Level:
    """One resolution of a pyramid: the path of its array, the edge of its voxels, NaN where nothing says it, and the place (zyx)
    of its first voxel's center.
    """

    path: str
    voxel_size_angstrom: float
    first_voxel_angstrom: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Pyramid:
    """An OME-Zarr image as its metadata describes it; levels may be missing on disk."""

    store: MutableMapping[str, Any]
    origin: str
    levels: tuple[Level, ...]
    tilt_range_degrees: TiltRange | None
    simulated: bool

    def array(self, level: int, separator: str | None = None) -> zarr.Array:
        """Return the array of `level`, voxels unread, with the `separator` in the keys of its chunks that .zarray should name.

        An error for a level that is missing names those that exist.
        """
        there = self._on_disk()
        if level not in there:
            if not there:
                raise MissingTomogramError(
                    f"{self.origin}: none of its {len(self.levels)} resolution levels is on disk; copy the "
                    "tomogram again"
                )
            known = "is listed but missing on disk" if level < len(self.levels) else "does not exist"
            names = ", ".join(str(index) for index in there)
            raise MissingTomogramError(
                f"{self.origin}: resolution level {level} {known}; on disk: {names}; choose level {there[0]}"
            )
        key = f"{self.levels[level].path}/.zarray"
        said = self._said(level) | ({"dimension_separator": separator} if separator else {})
        store = ChainMap({key: json.dumps(said).encode()}, self.store)
        array = open_array(store, self.levels[level].path, self.origin, SourceError, remedy=_COPY)
        if array.ndim < 3 or any(edge != 1 for edge in array.shape[:-3]) or array.dtype.kind not in "fiub":
            raise SourceError(
                f"{self.origin}: level {level} is {array.ndim}-dimensional {array.dtype}, not a tomogram (z, y, "
                f"x) but {' x '.join(map(str, array.shape))}; write one channel and one time point"
            )
        return array

    def _said(self, level: int) -> dict[str, Any]:
        """Return what the .zarray of a level says."""
        key = f"{self.levels[level].path}/.zarray"
        return parse_json(bytes(self.store[key]), f"{self.origin}/{key}", SourceError, remedy=_COPY)

    def _on_disk(self) -> list[int]:
        return [level for level, one in enumerate(self.levels) if f"{one.path}/.zarray" in self.store]

    def shapes_voxel(self) -> dict[int, tuple[int, ...]]:
        """Return the zyx edges of each level that is on disk."""
        return {level: self.array(level).shape[-3:] for level in self._on_disk()}

    def shape_voxel(self, level: int) -> tuple[int, int, int]:
        """Return the zyx edges of a level; refuse a scale that contradicts them."""
        z, y, x = self.array(level).shape[-3:]
        here, finest = self.levels[level], self.levels[0]
        if level and f"{finest.path}/.zarray" in self.store and here.voxel_size_angstrom > 0:
            ratio = finest.voxel_size_angstrom / here.voxel_size_angstrom
            expected = np.array(self.array(0).shape[-3:]) * ratio
            if np.any(np.abs(np.array([z, y, x]) - expected) > 1):
                raise SourceError(
                    f"{self.origin}: level {level} has {z} x {y} x {x} voxels (z, y, x), but its scale of "
                    f"{here.voxel_size_angstrom:.6g} A and that of level 0, {finest.voxel_size_angstrom:.6g} A, give "
                    f"{' x '.join(f'{edge:.0f}' for edge in expected)}; choose level 0, or correct the scales in its .zattrs"
                )
        return z, y, x

    def read(self, level: int, planes: slice | None = None) -> Float[np.ndarray, "z y x"]:
        """Read a level as float32, whole or only some planes; chunks that are absent hold the fill value (0 where there is none).

        Chunks are read in threads, so that one is decoded while another comes from the disk.
        """
        array = self.array(level, self._separator(level))
        first, shape, chunks = (0,) * (array.ndim - 3), array.shape[-3:], array.chunks[-3:]
        check_fits_memory(shape, f"{self.origin}: level {level}")
        lowest, highest = (0, shape[0]) if planes is None else (planes.start, planes.stop)
        volume = np.zeros((highest - lowest, *shape[1:]), dtype=array.dtype)

        def read_chunk(corner: tuple[int, ...]) -> None:
            z, *plane = (slice(start, start + chunk) for start, chunk in zip(corner, chunks, strict=True))
            z = slice(max(z.start, lowest), min(z.stop, highest))
            place = slice(z.start - lowest, z.stop - lowest)
            array.get_basic_selection((*first, z, *plane), out=volume[(place, *plane)])

        edges = (range(lowest // chunks[0] * chunks[0], highest, chunks[0]), *map(range, (0, 0), shape[1:], chunks[1:]))
        corners = product(*edges)
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            list(pool.map(read_chunk, corners))
        return np.asarray(volume, dtype=np.float32)

    def chunk_present(self, level: int) -> Bool[np.ndarray, "cz cy cx"]:
        """Return which chunks of a level exist in the store, under the keys that `read` takes."""
        array, separator = self.array(level), self._separator(level)
        present = np.zeros(array.cdata_shape[-3:], dtype=bool)
        keys = set(_keys_under(self.store, self.levels[level].path))
        for chunk in np.ndindex(present.shape):
            present[chunk] = separator.join(map(str, (0,) * (array.ndim - 3) + chunk)) in keys
        return present

    def _separator(self, level: int) -> str:
        """Return what stands between the numbers in the key of a chunk: what .zarray says, or what all chunks have instead."""
        array = self.array(level)
        said = self._said(level).get("dimension_separator") or "."
        keys = _keys_under(self.store, self.levels[level].path)
        for separator in (said, "/" if said == "." else "."):
            number = re.compile(re.escape(separator).join([r"\d+"] * array.ndim))
            if any(number.fullmatch(key) for key in keys):
                return separator
        return str(said)


def open_pyramid(store: MutableMapping[str, Any], origin: str, *, voxel_size_angstrom: float | None = None) -> Pyramid:
    """Read the metadata of an OME-Zarr 0.4 image in a Zarr v2 store, local or remote; `origin` is its address, for messages.

    `voxel_size_angstrom` is the true one of the finest level, where the scales are wrong; only their ratio counts then.
    """
    if isinstance(store, zarr.storage.FSStore):
        store = _Files(store.fs, store.path)
    attributes = _attributes(store, origin)
    try:
        image = attributes["multiscales"][0]
        axes = [axis["name"] for axis in image["axes"]]
        units = {axis.get("unit", "angstrom") for axis in image["axes"][-3:]}
        shared = image.get("coordinateTransformations", [])
        paths = [str(data["path"]) for data in image["datasets"]]
        places = [_place(data["coordinateTransformations"] + shared, len(axes)) for data in image["datasets"]]
        finest, _ = places[0]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as fault:
        raise SourceError(
            f"{origin}: its .zattrs is not an OME-NGFF 0.4 image ({type(fault).__name__}: {fault}); write it as "
            "OME-Zarr 0.4"
        ) from None
    if axes[-3:] != ["z", "y", "x"] or not set(axes[:-3]) <= {"t", "c"}:
        raise SourceError(
            f"{origin}: axes {', '.join(map(str, axes))}, expected z, y, x; write one channel and one time point"
        )
    if len(units) > 1 or not units <= set(_ANGSTROM_PER_UNIT):
        raise SourceError(
            f"{origin}: unit {', '.join(sorted(map(str, units)))}, expected angstrom; correct the axes in its .zattrs"
        )
    factor = _ANGSTROM_PER_UNIT[units.pop()]
    levels: list[Level] = []
    for path, (scale, first_voxel) in zip(paths, places, strict=True):
        if voxel_size_angstrom is None:
            size = isotropic_voxel_size(scale * factor, f"{origin}/{path}")
        else:
            size = true_voxel_size(scale, finest, voxel_size_angstrom) if levels else voxel_size_angstrom
        if first_voxel.any():  # a scale may be 0 where the true size is given
            first_voxel *= factor if voxel_size_angstrom is None else voxel_size_angstrom / np.maximum(finest, 1e-300)
        z, y, x = first_voxel.tolist()
        if not np.isfinite(first_voxel).all():
            raise SourceError(f"{origin}/{path}: a translation of {z}, {y}, {x} A (z, y, x); correct it in its .zattrs")
        levels.append(Level(path, size, (z, y, x)))
    ours = attributes.get(ATTRIBUTE)
    ours = ours if isinstance(ours, dict) else {}
    return Pyramid(store, origin, tuple(levels), _tilt_range(ours, origin), simulated=bool(ours.get("simulated")))


def most_levels(shape_voxel: Sequence[int]) -> int:
    """Return how many resolutions a tomogram can have; each level halves the edges, rounding up."""
    levels, edge = 1, min(shape_voxel)
    while (edge := -(-edge // 2)) >= SHORTEST_EDGE_VOXEL:
        levels += 1
    return levels


def write_pyramid(
    path: Path,
    volume: Shaped[np.ndarray, "z y x"],
    voxel_size_angstrom: float,
    *,
    levels: int = 1,
    tilt_range_degrees: TiltRange | None = None,
    simulated: bool = False,
) -> Path:
    """Write an OME-NGFF 0.4 image, whole or not at all. Each further level is the 2 x 2 x 2 mean of the one before.

    The same volume gives the same bytes, in its own type. Tilt range and `simulated` are kept in .zattrs under ``frazil``.
    """
    with atomic_path(path) as temporary, _one_compressor_thread():
        group = zarr.open_group(zarr.DirectoryStore(str(temporary)), mode="w")
        array = np.asarray(volume)
        for level in range(levels):
            if level:
                array = _halved(array)
            group.create_dataset(
                str(level),
                data=array,
                chunks=tuple(min(edge, LARGEST_CHUNK_VOXEL) for edge in array.shape),
                compressor=Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE),
                dimension_separator="/",
                fill_value=0,
                write_empty_chunks=True,  # a chunk of zeros was measured; an absent one was not
            )
        scales = [[voxel_size_angstrom * 2**level] * 3 for level in range(levels)]
        group.attrs["multiscales"] = [
            {
                "version": "0.4",
                "name": path.stem,
                "axes": [{"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"],
                "datasets": [
                    {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
                    for level, scale in enumerate(scales)
                ],
            }
        ]
        if tilt_range_degrees is not None or simulated:
            ours: dict[str, Any] = {"simulated": simulated}
            if tilt_range_degrees is not None:
                ours["tilt_range_degrees"] = list(tilt_range_degrees)
            group.attrs[ATTRIBUTE] = ours
    return path


@contextmanager
def _one_compressor_thread() -> Iterator[None]:
    """Several threads of Blosc put blocks into a chunk in the order in which they happen to be ready."""
    before = blosc.use_threads
    blosc.use_threads = False
    try:
        yield
    finally:
        blosc.use_threads = before


def _halved(volume: Shaped[np.ndarray, "z y x"]) -> Shaped[np.ndarray, "z2 y2 x2"]:
    """2 x 2 x 2 mean; an odd last layer stands for itself."""
    padded = np.pad(volume, [(0, edge % 2) for edge in volume.shape], mode="edge")
    z, y, x = (edge // 2 for edge in padded.shape)
    blocks = padded.reshape(z, 2, y, 2, x, 2)
    return np.asarray(blocks.mean(axis=(1, 3, 5)), dtype=volume.dtype)


def _attributes(store: MutableMapping[str, Any], origin: str) -> dict[str, Any]:
    if ".zattrs" not in store:
        if "zarr.json" in store:
            raise SourceError(f"{origin}: Zarr version 3; frazil reads version 2, convert it to OME-Zarr 0.4")
        raise SourceError(f"{origin}: no .zattrs, so it is not an OME-Zarr tomogram; copy the tomogram again")
    return parse_json(bytes(store[".zattrs"]), f"{origin}/.zattrs", SourceError, remedy=_COPY)


def _place(transformations: list[dict[str, Any]], axes: int) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
    """Return the zyx edges of a voxel, and where the center of the first one lies, in the unit of the axes."""
    scale, first_voxel = np.ones(axes), np.zeros(axes)
    for transformation in transformations:
        if transformation["type"] == "scale":
            factors = np.asarray(transformation["scale"], dtype=np.float64)
            scale, first_voxel = scale * factors, first_voxel * factors
        elif transformation["type"] == "translation":
            first_voxel = first_voxel + np.asarray(transformation["translation"], dtype=np.float64)
    return scale[-3:], first_voxel[-3:]


def _tilt_range(ours: dict[str, Any], origin: str) -> TiltRange | None:
    tilts = ours.get("tilt_range_degrees")
    if tilts is None:
        return None
    try:
        low, high = (float(tilt) for tilt in tilts)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not -90 <= low < high <= 90:
        raise SourceError(f"{origin}/.zattrs: tilt_range_degrees {tilts!r} is no range of tilts; correct it")
    return low, high


class _Files(MutableMapping[str, Any]):
    """A Zarr store to read from. Unlike Zarr's, it takes only a file that is not there for an absent chunk, and no path for a
    pattern.
    """

    def __init__(self, fs: Any, root: str) -> None:
        self.fs, self.path = fs, str(root).rstrip("/")

    def __getitem__(self, key: str) -> Any:
        try:
            return read_through(self.fs, f"{self.path}/{key}", SourceError, largest=machine_memory())
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        return (str(name)[len(self.path) + 1 :] for name in self.fs.find(self.path))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __setitem__(self, key: str, value: Any) -> None:
        raise zarr.errors.ReadOnlyError

    def __delitem__(self, key: str) -> None:
        raise zarr.errors.ReadOnlyError


def _keys_under(store: MutableMapping[str, Any], path: str) -> list[str]:
    """Keys of the store below `path`, relative to it; one listing for remote stores."""
    if isinstance(store, _Files):
        root = f"{store.path}/{path}".rstrip("/")
        return [str(name)[len(root) :].lstrip("/") for name in store.fs.find(root)]
    return [key[len(path) + 1 :] for key in store if key.startswith(f"{path}/")]
