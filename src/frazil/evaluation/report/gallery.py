"""Pictures of volumes for a page: central slices as PNG data URIs, on the gray scale of the examples."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from frazil.evaluation.examples import Examples, ExampleSet, binned
from frazil.evaluation.scores import ClosePair
from frazil.plots.slices import PLANES, central_slices, scale_bar_nm

BUDGET_BYTES = 3_000_000  # for all pictures of the gallery: with many classes, fewer of each are shown

_LARGEST_VOXEL = 128
_GAP = 2


@dataclass(frozen=True)
class Shown:
    """A volume in the gallery; `picture` has its three slices, one below the other."""

    kind: str
    row: int
    name: str
    picture: str
    alt: str


@dataclass(frozen=True)
class ClassRow:
    """The real and the generated volumes of a class."""

    label: str
    real: list[Shown]
    generated: list[Shown]


@dataclass(frozen=True)
class Gallery:
    """All classes, and what their pictures have in common.

    Parameters
    ----------
    aspect : height over width.
    bar_nm, bar_share : length of the scale bar, and its share of the width.
    columns : pictures in the longest row.
    """

    classes: list[ClassRow]
    aspect: float
    bar_nm: float
    bar_share: float
    columns: int


@dataclass(frozen=True)
class PairPicture:
    """A generated volume above the training box nearest to it, plane by plane; `placed` says how the box was moved."""

    pair: ClosePair
    placed: str
    picture: str
    alt: str


def gallery(examples: Examples, voxel_size_angstrom: float) -> Gallery:
    """Return the examples class by class; as many of each as the budget allows, at least one."""
    most = max((own.labels.count(label) for own in examples.sets.values() for label in own.labels), default=0)
    classes: list[ClassRow] = []
    for count in range(most, 0, -1):
        classes = [
            ClassRow(label, **{kind: _shown(own, kind, label, count) for kind, own in examples.sets.items()})
            for label in examples.labels
        ]
        if sum(len(one.picture) for row in classes for one in (*row.real, *row.generated)) <= BUDGET_BYTES:
            break
    edge = examples.generated.volumes.shape[-1]
    shown_edge = edge // math.ceil(edge / _LARGEST_VOXEL)
    bar_nm = scale_bar_nm(edge * voxel_size_angstrom)
    return Gallery(
        classes=classes,
        aspect=(len(PLANES) * shown_edge + (len(PLANES) - 1) * _GAP) / shown_edge,
        bar_nm=bar_nm,
        bar_share=bar_nm * 10 / (edge * voxel_size_angstrom),
        columns=max((len(part) for row in classes for part in (row.real, row.generated)), default=1),
    )


def pair_pictures(pairs: Sequence[ClosePair], examples: Examples) -> list[PairPicture]:
    """Return the pictures of the closest pairs, closest first; pairs without slices have none."""
    drawn = []
    for pair, sample, box in zip(pairs, examples.pair_sample, examples.pair_box, strict=False):
        rows = [_joined([_upright(plane) for plane in planes], axis=1) for planes in (sample, box)]
        alt = f"Central slices in {', '.join(PLANES)}: generated {pair.sample} above training box {pair.box}."
        drawn.append(PairPicture(pair, _placed(pair), png_uri(_joined(rows, axis=0)), alt))
    return drawn


def png_uri(image: UInt8[np.ndarray, "v h"]) -> str:
    """Return a gray picture as a ``data:`` address; its first row is at the top."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _shown(own: ExampleSet, kind: str, label: str, most: int) -> list[Shown]:
    shown = []
    for row in [row for row, given in enumerate(own.labels) if given == label][:most]:
        slices = [_upright(plane) for plane in central_slices(own.volumes[row]).values()]
        alt = f"{kind} {label}, {own.names[row]}: central slices in {', '.join(PLANES)}"
        shown.append(Shown(kind, row, own.names[row], png_uri(_joined(slices, axis=0)), alt))
    return shown


def _upright(plane: UInt8[np.ndarray, "v h"]) -> UInt8[np.ndarray, "v h"]:
    """Return a slice with its first row at the bottom, and no larger than a page can carry."""
    return binned(plane, math.ceil(plane.shape[-1] / _LARGEST_VOXEL))[::-1]


def _joined(images: Sequence[UInt8[np.ndarray, "v h"]], axis: int) -> UInt8[np.ndarray, "v h"]:
    """Return pictures side by side (axis 1) or one below the other (axis 0), with a white gap."""
    shape = list(images[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, 255, dtype=np.uint8)
    parts = [part for image in images for part in (image, gap)][:-1]
    return np.concatenate(parts, axis=axis)


def _placed(pair: ClosePair) -> str:
    turn = "not turned" if pair.rotation == "identity" else f"turned by 180° about {pair.rotation}"
    shift = ", ".join((f"{step:+d}" if step else "0").replace("-", "−") for step in pair.shift_voxel)
    return f"{turn}, shifted by ({shift}) voxels in z, y, x" if any(pair.shift_voxel) else f"{turn}, not shifted"
