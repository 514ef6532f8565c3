"""Windows of whole tomograms with their layouts: what a network with layouts learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64

from frazil.core.errors import ShapeError, StoreError
from frazil.core.records import NULL_LABEL, Layout, TomogramHeader
from frazil.core.seeds import numpy_generator
from frazil.core.settings import TrainingSettings
from frazil.dataset.description import REMEDY
from frazil.dataset.examples import Example
from frazil.dataset.tomograms.description import Region
from frazil.dataset.tomograms.store import TomogramStore
from frazil.volume.layout import Painter
from frazil.volume.turns import SIGNS, draw_turns, wedge_turns

_INSIDE_VOXEL = 4
"""The particle that a window is drawn near to lies at least this far inside it."""

_TRIES = 20
_HEIGHT_HIDDEN = _TILTS_HIDDEN = 0.1
_ORIENTATIONS_HIDDEN = 0.5
_MOST_FIXED = 64
"""Windows that validate, spread evenly over the particles."""


@dataclass(frozen=True)
class Window:
    """A part of a tomogram, as it is or as it would look if the tomogram were turned by 180 degrees.

    Parameters
    ----------
    volume : normalized gray values.
    layout : all particles that reach into it, at their places in the (turned) tomogram.
    start_voxel : the place of its first voxel there, zyx.
    header : of the tomogram.
    maps : its label maps there; none if the painter paints none.
    """

    volume: Float32[np.ndarray, "z y x"]
    layout: Layout
    start_voxel: Int64[np.ndarray, "3"]
    header: TomogramHeader
    maps: Sequence[Bool[np.ndarray, "z y x"]]


class Windows:
    """An epoch has a window near each particle of the split, in a random place, and a third as many anywhere.

    A window shows its part of the tomogram as it is, or as the tomogram would look turned by 180 degrees, and the layout of all particles
    that reach into it. In each window all orientations are hidden with probability 1/2, the height and the tilt range with 1/10 each.
    """

    def __init__(
        self,
        store: TomogramStore,
        split: str,
        painter: Painter,
        settings: TrainingSettings,
        *,
        edge_voxel: int,
        multiple: int,
        classes: Sequence[str],
        in_memory: bool,
    ) -> None:
        self.painter = painter
        self.settings = settings
        described, self._path = store.description, store.path
        numbers = np.array([classes.index(label) if label in classes else NULL_LABEL for label in described.labels])
        self._regions: list[Region] = []
        self._volumes: list[Any] = []
        self._measured: list[Any] = []
        self._maps: list[Any] = []
        self._layouts: list[Layout] = []
        self._headers = []
        self._near: list[tuple[int, int]] = []
        for run, header in described.tomograms.items():
            if split not in described.regions[run]:
                continue
            layout = store.layout(run)
            layout = Layout(numbers[layout.label], layout.center_voxel, layout.rotation)
            in_split = (store.particles.loc[store.particles["run"] == run, "split"] == split).to_numpy()
            known = layout.label != NULL_LABEL
            tomogram = len(self._volumes)
            self._near += [(tomogram, place) for place in np.flatnonzero(in_split[known]).tolist()]
            volume, measured = store.array(run), store.array(run, "measured")
            self._volumes.append(volume[:] if in_memory else volume)
            self._measured.append(measured[:] if in_memory and measured is not None else measured)
            if painter.map_count:
                maps = store.array(run, "maps")
                self._maps.append(maps[:] if in_memory else maps)
            self._layouts.append(layout[known])
            self._regions.append(described.regions[run][split])
            self._headers.append(header)
        self._sizes = np.array([np.prod(np.subtract(end, first), dtype=float) for first, end in self._regions])
        extents = np.array([np.subtract(end, first) for first, end in self._regions]).reshape(-1, 3)
        thinnest = extents.min(axis=0) if len(extents) else np.full(3, edge_voxel)
        self.shape_voxel = tuple((np.minimum(thinnest, edge_voxel) // multiple * multiple).tolist())
        if not all(self.shape_voxel):
            raise ShapeError(
                f"{store.path}: its tomograms, or their parts for {split}, are only {thinnest.tolist()} voxels large (zyx), and the "
                f"network needs {multiple} along each axis; use larger tomograms, or a finer level"
            )
        if split != "train":
            self._near = self._near[:: max(1, len(self._near) // _MOST_FIXED)][:_MOST_FIXED]

    def __len__(self) -> int:
        return len(self._near) + (len(self._near) + 2) // 3

    def drawn(self, row: int, epoch: int) -> Example:
        """See `Examples`."""
        return self._window(row, numpy_generator(self.settings.seed, "window", epoch, row), varied=True)

    def fixed(self, row: int) -> Example:
        """See `Examples`: orientations, height and tilts are told where they are known."""
        return self._window(row, numpy_generator(self.settings.seed, "fixed window", row), varied=False)

    def cut(self, row: int, random: np.random.Generator, *, varied: bool) -> Window:
        """Cut a window near particle `row`, or anywhere where there are no more particles; `varied` turns it if the settings say so."""
        for attempt in range(_TRIES):  # the surroundings of a particle may not be measured: then a window anywhere
            tomogram, start = self._place(row if attempt < _TRIES // 2 else len(self._near), random)
            spans = tuple(slice(a, a + edge) for a, edge in zip(start, self.shape_voxel, strict=True))
            if self._measured[tomogram] is None or self._measured[tomogram][spans].all():
                break
        header, layout = self._headers[tomogram], self._layouts[tomogram]
        turns = wedge_turns(header.tilt_range_degrees) if varied and self.settings.half_turns else ("identity",)
        (turn,) = draw_turns(1, turns, random)
        signs = np.array(SIGNS[turn])
        reversed_ = (..., *(slice(None, None, sign) for sign in signs))
        volume = self._volumes[tomogram][spans][reversed_]
        if not np.isfinite(volume).all():
            raise StoreError(f"{self._path}: damaged, {header.run} has NaN or infinite voxels; {REMEDY}")
        layout = turned(_near(layout, start, self.shape_voxel, self.painter.reach_voxel), signs, header.shape_voxel)
        shape = np.array(header.shape_voxel)
        start = np.where(signs > 0, start, shape - start - np.array(self.shape_voxel))
        maps = self._maps[tomogram][(slice(None), *spans)][reversed_].copy() if self._maps else ()
        return Window(volume.astype(np.float32), layout, start, header, maps)

    def _window(self, row: int, random: np.random.Generator, *, varied: bool) -> Example:
        cut = self.cut(row, random, varied=varied)
        hide_orientations, hide_height, hide_tilts = random.uniform(size=3) < (
            _ORIENTATIONS_HIDDEN * varied, _HEIGHT_HIDDEN * varied, _TILTS_HIDDEN * varied
        )  # fmt: skip
        layout = cut.layout.without_rotations() if hide_orientations else cut.layout
        depth = None if hide_height else cut.header.shape_voxel[0]
        tilts = cut.header.tilt_range_degrees if cut.header.tilt_range_degrees and not hide_tilts else (np.nan, np.nan)
        return Example(
            torch.from_numpy(cut.volume)[None],
            NULL_LABEL,
            torch.full((3,), torch.nan),
            row,
            self.painter.paint(layout, cut.start_voxel.tolist(), self.shape_voxel, depth, cut.maps),
            torch.tensor(tilts, dtype=torch.float32),
        )

    def _place(self, row: int, random: np.random.Generator) -> tuple[int, np.ndarray]:
        """Draw a tomogram and the first voxel of a window in it."""
        if row < len(self._near):
            tomogram, particle = self._near[row]
            center = np.rint(self._layouts[tomogram].center_voxel[particle]).astype(int)
            edges = np.array(self.shape_voxel)
            inside = np.minimum(_INSIDE_VOXEL, edges // 2 - 1)
            start = center - random.integers(inside, edges - inside)
        else:
            tomogram = int(random.choice(len(self._sizes), p=self._sizes / self._sizes.sum()))
            start = None
        first, end = (np.array(corner) for corner in self._regions[tomogram])
        last = end - np.array(self.shape_voxel)
        return tomogram, random.integers(first, last + 1) if start is None else np.clip(start, first, last)


def turned(layout: Layout, signs: Float[np.ndarray, "3"], shape_voxel: Sequence[int]) -> Layout:
    """Return the layout of a tomogram that was turned as a whole; `signs` (zyx) are -1 along the axes that it reverses."""
    center = np.where(signs > 0, layout.center_voxel, np.array(shape_voxel) - 1 - layout.center_voxel)
    return Layout(layout.label, center, signs[:, None] * layout.rotation)


def _near(layout: Layout, start: np.ndarray, shape: Sequence[int], reach: float) -> Layout:
    """Return the particles that may reach into a window."""
    center = layout.center_voxel
    return layout[((center > start - reach) & (center < start + np.array(shape) + reach)).all(axis=1)]
