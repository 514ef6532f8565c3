"""Volumes for the 3D viewer of a page: gzipped NIfTI in base64, chosen so that the page stays small.

NiiVue reads NIfTI, not MRC. The script itself is embedded gzipped and started when the reader comes to it.
"""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from jaxtyping import UInt8

from frazil.evaluation.examples.files import Examples

BUDGET_BYTES = 5_500_000
"""For all volumes of a page, encoded."""

_HEADER_BYTES = 352
_DENSEST_PERCENT, _SURFACE_SHARE = 1.0, 0.6
"""The surface first shown lies at this share of the z-score below which this many voxels of all volumes lie."""


@dataclass(frozen=True)
class Embedded:
    """A volume in the page.

    Parameters
    ----------
    kind, row : ``generated`` or ``real``, and its place among the examples of that kind.
    data : base64 of a gzipped NIfTI.
    """

    kind: str
    row: int
    name: str
    label: str
    data: str


@dataclass(frozen=True)
class Viewer:
    """What the viewer of a page needs.

    Parameters
    ----------
    volumes : class by class, generated before real.
    binning : voxels of a box along an edge of a voxel shown; 1 unless boxes are large.
    grey_low, grey_high : z-scores drawn black and white.
    surface : z-score, below zero, at which the surface is first shown.
    """

    volumes: tuple[Embedded, ...]
    binning: int
    grey_low: float
    grey_high: float
    surface: float


def viewer(examples: Examples, voxel_size_angstrom: float) -> Viewer:
    """Choose volumes: the first of every class and kind, then the second, and so on, as long as there is room."""
    order = list(_in_turn(examples))
    labels = {*examples.real_labels, *examples.generated_labels}
    binning = 1
    chosen = _fitting(examples, order, voxel_size_angstrom, binning)
    while len(chosen) < min(2 * len(labels), len(order)) and binning < 8:
        binning *= 2
        chosen = _fitting(examples, order, voxel_size_angstrom, binning)
    chosen.sort(key=lambda volume: (volume.label, volume.kind, volume.row))
    return Viewer(tuple(chosen), binning, examples.grey_low, examples.grey_high, _surface(examples))


def nifti_bytes(volume: UInt8[np.ndarray, "z y x"], *, voxel_size: float, slope: float, intercept: float) -> bytes:
    """Return a NIfTI-1 file of bytes whose centre is the origin; value = slope * byte + intercept.

    Parameters
    ----------
    voxel_size : edge of a voxel, in any unit: NIfTI has no angstrom, so the header names none.
    """
    z, y, x = volume.shape
    header = bytearray(_HEADER_BYTES)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, x, y, z, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)  # datatype uint8, 8 bits
    struct.pack_into("<8f", header, 76, 1, voxel_size, voxel_size, voxel_size, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, _HEADER_BYTES, slope, intercept)
    struct.pack_into("<2f", header, 124, 255 * slope + intercept, intercept)  # shown white, shown black
    struct.pack_into("<2h", header, 252, 0, 2)  # sform: aligned
    for axis, edge in enumerate((x, y, z)):
        row = [0.0, 0.0, 0.0, -voxel_size * (edge // 2)]
        row[axis] = voxel_size
        struct.pack_into("<4f", header, 280 + 16 * axis, *row)
    struct.pack_into("<4s", header, 344, b"n+1")
    return bytes(header) + np.ascontiguousarray(volume).tobytes()


@cache
def niivue_script() -> str:
    """Return the viewer's script, gzipped, in base64."""
    return _packed(files("frazil.evaluation.report").joinpath("assets", "niivue.umd.js").read_bytes())


def niivue_version() -> str:
    """Return the version of the vendored NiiVue."""
    about = json.loads(files("frazil.evaluation.report").joinpath("assets", "niivue.json").read_text(encoding="utf-8"))
    return str(about["version"])


def niivue_licence() -> str:
    """Return the licence of NiiVue and of what it holds; whoever passes it on must pass this on."""
    return files("frazil.evaluation.report").joinpath("assets", "niivue.LICENSE.txt").read_text(encoding="utf-8")


def _packed(content: bytes) -> str:
    # mtime: the same content gives the same page
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode("ascii")


def _in_turn(examples: Examples) -> Iterator[tuple[str, int]]:
    labels = sorted({*examples.real_labels, *examples.generated_labels})
    rows = {
        (kind, label): [row for row, own in enumerate(getattr(examples, f"{kind}_labels")) if own == label]
        for kind in ("generated", "real")
        for label in labels
    }
    for place in range(max((len(own) for own in rows.values()), default=0)):
        for label in labels:
            for kind in ("generated", "real"):
                if place < len(rows[kind, label]):
                    yield kind, rows[kind, label][place]


def _fitting(
    examples: Examples, order: list[tuple[str, int]], voxel_size_angstrom: float, binning: int
) -> list[Embedded]:
    """Return the first volumes in `order` that fit into the budget together."""
    slope = (examples.grey_high - examples.grey_low) / 255
    chosen: list[Embedded] = []
    left = BUDGET_BYTES
    for kind, row in order:
        volume = _binned(getattr(examples, kind)[row], binning)
        nifti = nifti_bytes(volume, voxel_size=voxel_size_angstrom * binning, slope=slope, intercept=examples.grey_low)
        data = _packed(nifti)
        left -= len(data)
        if left < 0:
            break
        names, labels = getattr(examples, f"{kind}_names"), getattr(examples, f"{kind}_labels")
        chosen.append(Embedded(kind, row, names[row], labels[row], data))
    return chosen


def _binned(volume: UInt8[np.ndarray, "z y x"], factor: int) -> UInt8[np.ndarray, "z y x"]:
    if factor == 1:
        return volume
    edges = [edge // factor for edge in volume.shape]
    kept = volume[tuple(slice(0, edge * factor) for edge in edges)]
    blocks = kept.reshape(edges[0], factor, edges[1], factor, edges[2], factor)
    means: UInt8[np.ndarray, "z y x"] = np.rint(blocks.mean(axis=(1, 3, 5))).astype(np.uint8)
    return means


def _surface(examples: Examples) -> float:
    """Return a z-score between ice and the densest voxels of all volumes; particles are dark."""
    both = [volumes for volumes in (examples.generated, examples.real) if len(volumes)]
    if not both:
        return -1.0
    byte = float(np.percentile(np.concatenate([volumes.ravel() for volumes in both]), _DENSEST_PERCENT))
    densest = examples.grey_low + byte / 255 * (examples.grey_high - examples.grey_low)
    return min(_SURFACE_SHARE * densest, -0.1)
