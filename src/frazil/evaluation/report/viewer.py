"""Volumes for the 3D viewer of a page: gzipped NPY in base64, chosen so that the page stays small.

NiiVue draws them. Its script is embedded gzipped too, and starts when the reader scrolls to it.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from frazil.evaluation.examples import Examples, binned

BUDGET_BYTES = 5_500_000  # for all volumes of a page, encoded

_DENSEST_PERCENT, _SURFACE_SHARE = 1.0, 0.6
"""The surface first shown is at this share of the z-score of the darkest percent of all voxels."""

_ASSETS = files("frazil.evaluation.report") / "assets"


@dataclass(frozen=True)
class Embedded:
    """A volume in the page, at place `row` among the examples of its kind; `data` is a gzipped NPY file in base64."""

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
    binning : voxels of a box per voxel shown, along an edge; 1 unless boxes are large.
    surface : z-score, below zero, at which the surface is first shown.
    """

    volumes: tuple[Embedded, ...]
    binning: int
    surface: float


def viewer(examples: Examples) -> Viewer:
    """Choose volumes: the first of every class and kind, then the second, and so on, while they fit into the budget."""
    in_turn = sorted(
        (own.labels[:row].count(label), label, kind, row)
        for kind, own in examples.sets.items()
        for row, label in enumerate(own.labels)
    )
    order = [(kind, row) for _, _, kind, row in in_turn]
    binning = 1
    chosen = _fitting(examples, order, binning)
    while len(chosen) < min(2 * len(examples.labels), len(order)) and binning < 8:
        binning *= 2
        chosen = _fitting(examples, order, binning)
    chosen.sort(key=lambda volume: (volume.label, volume.kind, volume.row))
    return Viewer(tuple(chosen), binning, _surface(examples))


@cache
def niivue() -> dict[str, str]:
    """Return the viewer's ``script``, gzipped, in base64; its ``version``; and its ``license``, which must be passed on."""
    return {
        "script": _packed((_ASSETS / "niivue.umd.js").read_bytes()),
        "version": json.loads((_ASSETS / "niivue.json").read_text(encoding="utf-8"))["version"],
        "license": (_ASSETS / "niivue.LICENSE.txt").read_text(encoding="utf-8"),
    }


def _packed(content: bytes) -> str:
    # mtime: the same content gives the same page
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode("ascii")


def _fitting(examples: Examples, order: list[tuple[str, int]], binning: int) -> list[Embedded]:
    """Return the first volumes in `order` that fit into the budget together."""
    chosen: list[Embedded] = []
    left = BUDGET_BYTES
    for kind, row in order:
        own = examples.sets[kind]
        stream = io.BytesIO()
        # NiiVue takes z and y of an NPY file as pointing down
        np.save(stream, np.ascontiguousarray(binned(own.volumes[row], binning)[::-1, ::-1]))
        data = _packed(stream.getvalue())
        left -= len(data)
        if left < 0:
            break
        chosen.append(Embedded(kind, row, own.names[row], own.labels[row], data))
    return chosen


def _surface(examples: Examples) -> float:
    """Return a z-score between ice and the darkest voxels of all volumes; particles are dark."""
    shown = np.concatenate([own.volumes.ravel() for own in examples.sets.values()])
    if not len(shown):
        return -1.0
    byte = float(np.percentile(shown, _DENSEST_PERCENT))
    densest = examples.grey_low + byte / 255 * (examples.grey_high - examples.grey_low)
    return min(_SURFACE_SHARE * densest, -0.1)
