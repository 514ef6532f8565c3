"""The paper's figure of a class: real examples and generated samples as central XY, XZ and YZ slices.

The first letter of a plane points right and the second up, so the beam (z) is vertical in XZ and YZ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from frazil.plots.page import DPI, MARGIN, Page, point, styled, text_width, wrap

PLANES = ("XY", "XZ", "YZ")
PERCENTILES = (0.5, 99.5)  # share of gray values, in percent, that black and white stand for

_PANEL_INCH = 1.08
_NAME_POINT = 5.5
_GAP = point(1.5)
_HEADER = point(24)
_SCALE_BAR_NM = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class VolumeRow:
    """Volumes of one class, shown as one row of a figure.

    Parameters
    ----------
    kind : what they are, e.g. ``Real``, ``Simulated``, ``Generated``.
    volumes : z-scored cubic boxes.
    names : printed above each volume; empty prints none.
    note : printed next to the kind, e.g. the split that they come from.
    """

    kind: str
    volumes: Float[np.ndarray, "n z y x"]
    names: Sequence[str] = ()
    note: str = ""

    @property
    def title(self) -> str:
        """What is written above them."""
        return f"{self.kind}, {self.note}" if self.note else self.kind


def central_slices(volume: Float[np.ndarray, "z y x"]) -> dict[str, Float[np.ndarray, "v h"]]:
    """Return the XY, XZ and YZ slices through the box center, voxel `D // 2`; rows go up, columns to the right."""
    z, y, x = (edge // 2 for edge in volume.shape)
    return {"XY": volume[z], "XZ": volume[:, y], "YZ": volume[:, :, x]}


def grey_scale(volumes: Float[np.ndarray, "n z y x"]) -> tuple[float, float]:
    """Return the gray values drawn black and white: percentiles 0.5 and 99.5 of the central slices of all volumes."""
    shown = np.stack([plane for volume in volumes for plane in central_slices(volume).values()])
    black, white = (float(value) for value in np.percentile(shown, PERCENTILES))
    return (black, white) if white > black else (black - 1.0, white + 1.0)


def scale_bar_nm(box_angstrom: float) -> float:
    """Return a round length in nm, close to a third of the box and never more than 0.4 of it."""
    return max((length for length in _SCALE_BAR_NM if length * 10 <= 0.4 * box_angstrom), default=_SCALE_BAR_NM[0])


@styled
def class_page(label: str, rows: Sequence[VolumeRow], *, voxel_size_angstrom: float, caption: str = "") -> Page:
    """Draw one class: for every row of examples, all of one box size, its XY, XZ and YZ slices, with one gray scale per row."""
    _, step = _panel(rows[0].volumes.shape[1])
    left, top, bar = MARGIN + point(14), point(20), point(34)
    block = _HEADER + len(PLANES) * step + point(5)
    # a few columns may be narrower than the text above them; bold letters are about 15 % wider
    written = [text_width(row.title, 8) for row in rows] + [1.2 * text_width(label, 10)]
    width = left + max(max(len(row.volumes) for row in rows) * step - _GAP + bar + MARGIN, round(max(written)))
    page = Page.blank(width, top + len(rows) * block, caption)
    page.text(MARGIN, MARGIN, label, fontsize=10, fontweight="bold")
    for number, row in enumerate(rows):
        black, white = grey_scale(row.volumes)
        _draw_block(page, row, left, top + number * block, black, white, voxel_size_angstrom)
        bar_left = left + len(row.volumes) * step + point(4)
        _draw_grey_scale(page, bar_left, top + number * block + _HEADER, len(PLANES) * step - _GAP, black, white)
    page.write_caption()
    return page


@styled
def overview_page(classes: Mapping[str, Sequence[VolumeRow]], *, voxel_size_angstrom: float, caption: str = "") -> Page:
    """Draw all classes, one per row, as central XY slices: first the examples of the first kind, then of the next.

    Classes have the same kinds of examples in the same order, all of one box size; the place of a kind that a class lacks
    stays empty.
    """
    box = next(iter(classes.values()))[0].volumes.shape[1]
    panel, step = _panel(box)
    kinds = list(dict.fromkeys(row.kind for rows in classes.values() for row in rows))
    counts = [max(len(row.volumes) for rows in classes.values() for row in rows if row.kind == kind) for kind in kinds]
    names = {label: wrap(label.replace("-", "- "), point(66)) for label in classes}
    left = MARGIN + point(4) + round(max(text_width(line) for lines in names.values() for line in lines))
    header, between = point(20), point(8)
    starts = [left + sum(counts[:number]) * step + number * between for number in range(len(kinds))]
    width = starts[-1] + counts[-1] * step - _GAP + MARGIN
    page = Page.blank(width, header + len(classes) * step - _GAP, caption)
    for start, kind in zip(starts, kinds, strict=True):
        page.text(start, header - point(3), kind, fontsize=8, va="bottom")
    for number, (label, rows) in enumerate(classes.items()):
        y = header + number * step
        name = "\n".join(names[label]).replace("- ", "-")
        page.text(left - point(4), y + panel / 2, name, ha="right", va="center")
        black, white = grey_scale(np.concatenate([row.volumes for row in rows]))
        for row in rows:
            start = starts[kinds.index(row.kind)]
            for column, volume in enumerate(row.volumes):
                axes = page.axes(start + column * step, y, panel, panel)
                _show(axes, central_slices(volume)["XY"], black, white)
                if number == 0 and column == 0:
                    _draw_scale_bar(axes, box, voxel_size_angstrom)
    page.write_caption()
    return page


def _draw_block(
    page: Page, row: VolumeRow, left: int, top: int, black: float, white: float, voxel_size_angstrom: float
) -> None:
    """Draw the title of `row` and its slices, one column per volume."""
    box = row.volumes.shape[1]
    panel, step = _panel(box)
    above = {"fontsize": _NAME_POINT, "color": "0.35", "ha": "center", "va": "bottom"}
    page.text(left, top + point(3), row.title, fontsize=8)
    for line, plane in enumerate(PLANES):
        page.text(left - point(4), top + _HEADER + line * step + panel / 2, plane, ha="right", va="center")
    for column, volume in enumerate(row.volumes):
        x = left + column * step
        if row.names:
            page.text(x + panel / 2, top + _HEADER - point(2), _shorten(row.names[column], panel), **above)
        for line, image in enumerate(central_slices(volume).values()):
            axes = page.axes(x, top + _HEADER + line * step, panel, panel)
            _show(axes, image, black, white)
            if column == line == 0:
                _draw_scale_bar(axes, box, voxel_size_angstrom)


def _panel(box: int) -> tuple[int, int]:
    """Return the edge of a slice and the distance between slices, in pixels; a voxel is a whole number of pixels."""
    edge = box * max(1, round(_PANEL_INCH * DPI / box))
    return edge, edge + _GAP


def _show(axes: Axes, image: Float[np.ndarray, "v h"], black: float, white: float) -> None:
    axes.imshow(image, cmap="gray", vmin=black, vmax=white, origin="lower", interpolation="nearest", aspect="equal")
    axes.set_axis_off()


def _draw_scale_bar(axes: Axes, box: int, voxel_size_angstrom: float) -> None:
    """Draw a white bar with a black rim in the lower left corner; image coordinates are voxels."""
    length_nm = scale_bar_nm(box * voxel_size_angstrom)
    length_voxel = length_nm * 10 / voxel_size_angstrom
    inset, thickness = 0.06 * box - 0.5, 0.03 * box
    rim = withStroke(linewidth=1.2, foreground="black")
    axes.add_patch(
        Rectangle((inset, inset), length_voxel, thickness, facecolor="white", edgecolor="none", path_effects=[rim])
    )
    axes.text(
        inset + length_voxel / 2, inset + 1.6 * thickness, f"{length_nm:g} nm",
        color="white", fontsize=6, fontweight="bold", ha="center", va="bottom", path_effects=[rim],
    )  # fmt: skip


def _draw_grey_scale(page: Page, left: int, top: int, height: int, black: float, white: float) -> None:
    axes = page.axes(left, top, point(5), height)
    axes.imshow(np.linspace(0, 1, 256)[:, None], cmap="gray", origin="lower", aspect="auto", vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([])
    style = {"fontsize": 6, "color": "0.2"}
    for value, y, va in ((white, top, "top"), (black, top + height, "bottom")):
        page.text(left + point(7), y, f"{value:+.1f}".replace("-", "−"), va=va, **style)
    page.text(left + point(8), top + height / 2, "gray value (σ)", rotation=90, va="center", **style)


def _shorten(name: str, panel: int) -> str:
    """Cut the middle out of a name that is wider than its slice."""
    kept, shown = len(name), name
    while text_width(shown, _NAME_POINT) > panel and kept > 2:
        kept -= 1
        shown = f"{name[: kept // 2]}…{name[len(name) - kept + kept // 2 :]}"
    return shown
