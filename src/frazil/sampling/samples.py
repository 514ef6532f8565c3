"""Generated volumes in memory, and how a notebook shows them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from jaxtyping import Float

from frazil.core.records import Layout

_SHOWN = 8
_EDGE_PIXEL = 128


@dataclass(frozen=True, repr=False)
class Samples:
    """Generated volumes with everything that is known about them.

    Parameters
    ----------
    volumes : `(n, z, y, x)` float32, normalized as in the training data; particles are dark.
    labels : class name of each volume.
    positions : `(n, 3)` zyx, in [0, 1].
    seed : the user's seed; volume i descends from (seed, indices[i]) alone.
    indices : number of each volume in the whole request.
    voxel_size_angstrom : edge of a voxel.
    layouts : which particles each box holds, the labeled one first, in voxels of the box; empty for a bundle without layouts.
    """

    volumes: Float[np.ndarray, "n z y x"]
    labels: list[str]
    positions: Float[np.ndarray, "n 3"]
    seed: int
    indices: list[int]
    voxel_size_angstrom: float
    layouts: list[Layout] = field(default_factory=list)

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples:
        """Return the samples of several parts of one request in one."""
        return cls(
            np.concatenate([part.volumes for part in parts]),
            [label for part in parts for label in part.labels],
            np.concatenate([part.positions for part in parts]),
            parts[0].seed,
            [index for part in parts for index in part.indices],
            parts[0].voxel_size_angstrom,
            [layout for part in parts for layout in part.layouts],
        )

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self) -> Iterator[tuple[int, str, Float[np.ndarray, "3"], Float[np.ndarray, "z y x"]]]:
        """Iterate over index, label, position and volume of each sample."""
        return zip(self.indices, self.labels, self.positions, self.volumes, strict=True)

    def __repr__(self) -> str:
        return f"Samples({describe(self.labels, self.volumes.shape[-1], self.voxel_size_angstrom)}, seed {self.seed})"

    def _repr_html_(self) -> str:
        return slices_html(repr(self), self.volumes, self.labels)


def describe(labels: Iterable[str], box_size_voxel: int, voxel_size_angstrom: float) -> str:
    """Return in a few words how many volumes of which classes and which size there are."""
    labels = list(labels)
    counts = ", ".join(f"{labels.count(label)} {label}" for label in dict.fromkeys(labels)) or "no volumes"
    return f"{counts}; {describe_size(box_size_voxel, voxel_size_angstrom)}"


def describe_size(box_size_voxel: int, voxel_size_angstrom: float) -> str:
    """Return the size of a box and of its voxels, NaN where nobody knows it, in a few words."""
    size = "unknown size" if np.isnan(voxel_size_angstrom) else f"{voxel_size_angstrom:.3f} A"
    return f"{box_size_voxel}^3 voxels of {size}"


def slices_html(title: str, volumes: Iterable[Float[np.ndarray, "z y x"]], labels: Sequence[str]) -> str:
    """Return HTML that shows the central XY slices of the first few `volumes` under a title, with no file but itself."""
    figures = []
    for label, volume in zip(labels[:_SHOWN], volumes, strict=False):
        figures.append(
            f'<figure style="margin:0"><img width="{_EDGE_PIXEL}" style="image-rendering:pixelated" '
            f'alt="{escape(label)}" src="data:image/png;base64,{_png(volume)}"><figcaption>{escape(label)}</figcaption></figure>'
        )
    return f'<div>{escape(title)}</div><div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(figures)}</div>'


def _png(volume: Float[np.ndarray, "z y x"]) -> str:
    from matplotlib.image import imsave

    from frazil.plots.slices import central_slices, grey_scale

    black, white = grey_scale(volume[None])
    picture = io.BytesIO()
    imsave(picture, central_slices(volume)["XY"], format="png", cmap="gray", vmin=black, vmax=white, origin="lower")
    return base64.b64encode(picture.getvalue()).decode()
