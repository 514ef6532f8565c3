"""`examples.npz`: the volumes that a report shows, as bytes on one grey scale for all."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from frazil.core.errors import SourceError
from frazil.core.files import atomic_path, one_line

SCHEMA_VERSION = 1
KIND = "frazil examples"


@dataclass(frozen=True)
class Examples:
    """What the gallery, the viewer and the pictures of close pairs of a report show.

    A byte b stands for the z-score ``grey_low + b / 255 * (grey_high - grey_low)``.

    Parameters
    ----------
    generated, real : `(m, z, y, x)` and `(n, z, y, x)` volumes, a few of each class; the real ones are held out.
    generated_names, real_names : what a reader finds each by.
    generated_labels, real_labels : class of each.
    pair_sample : `(p, 3, D, D)` central XY, XZ and YZ slices of the generated volume of each of the closest pairs, closest first.
    pair_box : `(p, 3, D, D)` the same of the training box, turned and shifted onto it.
    grey_low, grey_high : z-score at byte 0 and at byte 255.
    """

    generated: UInt8[np.ndarray, "m z y x"]
    generated_names: tuple[str, ...]
    generated_labels: tuple[str, ...]
    real: UInt8[np.ndarray, "n z y x"]
    real_names: tuple[str, ...]
    real_labels: tuple[str, ...]
    pair_sample: UInt8[np.ndarray, "p 3 u v"]
    pair_box: UInt8[np.ndarray, "p 3 u v"]
    grey_low: float
    grey_high: float

    def __post_init__(self) -> None:
        for kind in ("generated", "real"):
            counts = {len(getattr(self, kind + part)) for part in ("", "_names", "_labels")}
            if len(counts) > 1:
                raise ValueError(f"{kind} volumes, names and labels differ in number: {sorted(counts)}")
        if self.pair_sample.shape != self.pair_box.shape:
            raise ValueError(f"pairs of {self.pair_sample.shape} and {self.pair_box.shape} differ in shape")


def to_grey(volumes: np.ndarray, low: float, high: float) -> UInt8[np.ndarray, "..."]:
    """Return z-scores as bytes; what lies beyond `low` or `high` becomes 0 or 255.

    Parameters
    ----------
    volumes : any shape.
    low, high : z-score at byte 0 and at byte 255.
    """
    scaled = (np.asarray(volumes, dtype=np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    grey: UInt8[np.ndarray, "..."] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return grey


def write_examples(path: Path, examples: Examples) -> None:
    """Write the examples, compressed, whole or not at all; nothing is pickled.

    Raises
    ------
    OutputError : the place cannot be written.
    """
    arrays: dict[str, Any] = {field.name: _plain(getattr(examples, field.name)) for field in fields(Examples)}
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, schema_version=np.int64(SCHEMA_VERSION), kind=np.asarray(KIND), **arrays)


def read_examples(path: Path) -> Examples:
    """Read what `write_examples` wrote.

    Raises
    ------
    SourceError : no such file, something else, damaged, or of a newer schema.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file; make it with frazil evaluate") from None
    except PermissionError:
        raise SourceError(f"{path}: permission denied; make it readable") from None
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zipfile.error) as fault:
        raise SourceError(f"{path}: damaged, no NPZ archive ({one_line(fault)}); run frazil evaluate again") from None
    if str(arrays.get("kind")) != KIND:
        raise SourceError(f"{path}: this is no {KIND}; name a folder that frazil evaluate wrote")
    if int(arrays["schema_version"]) > SCHEMA_VERSION:
        raise SourceError(
            f"{path}: schema version {int(arrays['schema_version'])} was written by a newer frazil; upgrade frazil"
        )
    if missing := [field.name for field in fields(Examples) if field.name not in arrays]:
        raise SourceError(f"{path}: damaged, {', '.join(missing)} is missing; run frazil evaluate again")
    try:
        return Examples(**{field.name: _as_declared(arrays[field.name], str(field.type)) for field in fields(Examples)})
    except (ValueError, TypeError) as fault:
        raise SourceError(f"{path}: damaged, {one_line(fault)}; run frazil evaluate again") from None


def _plain(value: object) -> np.ndarray:
    return np.asarray(value, dtype=np.str_) if isinstance(value, tuple) else np.asarray(value)


def _as_declared(array: np.ndarray, kind: str) -> Any:
    if kind.startswith("tuple"):
        return tuple(str(text) for text in array.tolist())
    if kind == "float":
        return float(array)
    if array.dtype != np.uint8:
        raise ValueError(f"volumes of {array.dtype} instead of uint8")
    return array
