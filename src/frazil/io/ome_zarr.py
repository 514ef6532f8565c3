"""OME-Zarr (NGFF 0.4, Zarr v2) tomograms: read a level of the pyramid and which of its chunks exist; write a pyramid.

Conventions. The scale in the metadata is the truth, whatever a folder is called. Angstrom are counted from the
center of voxel (0, 0, 0), at every level: ``centers_voxel = centers_angstrom / voxel_size_angstrom``. (A level is
the mean of 2 x 2 x 2 voxels of the one above, so strictly the center of its first voxel lies half a finer voxel
away, a quarter of its own; the metadata of copick and of the CZII data set do not carry that shift, and neither do we.)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, MutableMapping
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
from frazil.core.files import atomic_path, one_line
from frazil.core.records import TiltRange
from frazil.io.checks import isotropic_voxel_size, true_voxel_size

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Shaped

LARGEST_CHUNK_VOXEL = 128
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
    """One resolution of a pyramid: the path of its array and the edge of its voxels, NaN where nothing says it."""

    path: str
    voxel_size_angstrom: float


@dataclass(frozen=True)
class Pyramid:
    """An OME-Zarr image as its metadata describes it; levels may be missing on disk."""

    store: MutableMapping[str, Any]
    origin: str
    levels: tuple[Level, ...]
    tilt_range_degrees: TiltRange | None
    simulated: bool

    def array(self, level: int) -> zarr.Array:
        """Return the array of `level`, voxels unread. An error for a level that is missing names those that exist."""
        there = [index for index, one in enumerate(self.levels) if f"{one.path}/.zarray" in self.store]
        if level not in there:
            if not there:
                raise MissingTomogramError(
                    f"{self.origin}: none of its {len(self.levels)} resolution levels is on disk; copy the "
                    "tomogram again"
                )
            known = "is listed but missing on disk" if level < len(self.levels) else "does not exist"
            names = ", ".join(str(index) for index in there)
            raise MissingTomogramError(
                f"{self.origin}: resolution level {level} {known}; on disk: {names}; pass --level {there[0]}"
            )
        path = self.levels[level].path
        try:
            separator = json.loads(bytes(self.store[f"{path}/.zarray"])).get("dimension_separator", ".")
            array = zarr.open_array(_strict(self.store, separator), path=path, mode="r")
        except (ValueError, AttributeError, zarr.errors.MetadataError) as fault:
            raise SourceError(
                f"{self.origin}/{path}/.zarray: damaged ({one_line(fault)}); copy the tomogram again"
            ) from None
        if array.ndim != 3 or array.dtype.kind not in "fiu":
            raise SourceError(
                f"{self.origin}: level {level} is {array.ndim}-dimensional {array.dtype}, not a tomogram (z, y, "
                "x); check the file"
            )
        return array

    def read(self, level: int) -> Float[np.ndarray, "z y x"]:
        """Read a whole level as float32; chunks that are absent hold the fill value (0 where there is none).

        Chunks are read in threads, so that one is decoded while another comes from the disk.
        """
        array = self.array(level)
        volume = np.zeros(array.shape, dtype=array.dtype)

        def read_chunk(corner: tuple[int, ...]) -> None:
            block = tuple(slice(start, start + chunk) for start, chunk in zip(corner, array.chunks, strict=True))
            array.get_basic_selection(block, out=volume[block])

        corners = product(*(range(0, edge, chunk) for edge, chunk in zip(array.shape, array.chunks, strict=True)))
        try:
            with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
                list(pool.map(read_chunk, corners))
        except (ValueError, RuntimeError, OSError) as fault:
            raise SourceError(
                f"{self.origin}: a chunk of level {level} cannot be read ({one_line(fault)}); copy the tomogram again"
            ) from None
        return np.asarray(volume, dtype=np.float32)

    def chunk_present(self, level: int) -> Bool[np.ndarray, "cz cy cx"]:
        """Return which chunks of a level exist in the store."""
        present = np.zeros(self.array(level).cdata_shape, dtype=bool)
        keys = {key.replace("/", ".") for key in _keys_under(self.store, self.levels[level].path)}
        for chunk in np.ndindex(present.shape):
            present[chunk] = ".".join(map(str, chunk)) in keys
        return present


def open_pyramid(store: MutableMapping[str, Any], origin: str, *, voxel_size_angstrom: float | None = None) -> Pyramid:
    """Read the metadata of an OME-Zarr 0.4 image in a Zarr v2 store, local or remote; `origin` is its address, for messages.

    `voxel_size_angstrom` is the true one of the finest level, where the scales are wrong; only their ratio counts then.
    """
    store = _strict(store)
    attributes = _attributes(store, origin)
    try:
        image = attributes["multiscales"][0]
        axes = [axis["name"] for axis in image["axes"]]
        units = {axis.get("unit", "angstrom") for axis in image["axes"]}
        shared = _scale(image.get("coordinateTransformations", []), len(axes))
        paths = [str(data["path"]) for data in image["datasets"]]
        scales = [_scale(data["coordinateTransformations"], len(axes)) * shared for data in image["datasets"]]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as fault:
        raise SourceError(
            f"{origin}: its .zattrs is not an OME-NGFF 0.4 image ({type(fault).__name__}: {fault}); write it as "
            "OME-Zarr 0.4"
        ) from None
    if axes != ["z", "y", "x"]:
        raise SourceError(
            f"{origin}: axes {', '.join(map(str, axes))}, expected z, y, x; write one channel and one time point"
        )
    if len(units) > 1 or not units <= set(_ANGSTROM_PER_UNIT):
        raise SourceError(
            f"{origin}: unit {', '.join(sorted(map(str, units)))}, expected angstrom; correct the axes in its .zattrs"
        )
    factor = _ANGSTROM_PER_UNIT[units.pop()]
    levels: list[Level] = []
    for path, scale in zip(paths, scales, strict=True):
        if voxel_size_angstrom is None:
            size = isotropic_voxel_size(scale * factor, f"{origin}/{path}")
        else:
            size = true_voxel_size(scale, scales[0], voxel_size_angstrom) if levels else voxel_size_angstrom
        levels.append(Level(path, size))
    ours = attributes.get(ATTRIBUTE)
    ours = ours if isinstance(ours, dict) else {}
    return Pyramid(store, origin, tuple(levels), _tilt_range(ours, origin), simulated=bool(ours.get("simulated")))


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
    try:
        attributes = json.loads(bytes(store[".zattrs"]))
    except (json.JSONDecodeError, UnicodeDecodeError) as fault:
        raise SourceError(f"{origin}/.zattrs: damaged, not valid JSON ({fault}); copy the tomogram again") from None
    if not isinstance(attributes, dict):
        raise SourceError(f"{origin}/.zattrs: damaged, not a JSON object; copy the tomogram again")
    return attributes


def _scale(transformations: list[dict[str, Any]], axes: int) -> Float[np.ndarray, "axes"]:
    scale = np.ones(axes)
    for transformation in transformations:
        if transformation["type"] == "scale":
            scale = scale * np.asarray(transformation["scale"], dtype=np.float64)
    return scale


def _tilt_range(ours: dict[str, Any], origin: str) -> TiltRange | None:
    tilts = ours.get("tilt_range_degrees")
    if tilts is None:
        return None
    try:
        low, high = (float(tilt) for tilt in tilts)
    except (TypeError, ValueError):
        raise SourceError(f"{origin}/.zattrs: tilt_range_degrees {tilts!r} are not two numbers; correct it") from None
    return low, high


def _strict(store: MutableMapping[str, Any], separator: str = ".") -> MutableMapping[str, Any]:
    """Zarr takes any input error for an absent chunk; only a file that is not there is one."""
    if isinstance(store, zarr.storage.FSStore):
        store = zarr.storage.FSStore(
            store.path, fs=store.fs, mode="r", exceptions=(KeyError,), dimension_separator=separator
        )
    return store


def _keys_under(store: MutableMapping[str, Any], path: str) -> list[str]:
    """Keys of the store below `path`, relative to it; one listing for remote stores."""
    if isinstance(store, zarr.storage.FSStore):
        root = f"{store.path}/{path}".rstrip("/")
        return [str(name)[len(root) :].lstrip("/") for name in store.fs.find(root)]
    return [key[len(path) + 1 :] for key in store if key.startswith(f"{path}/")]
