"""Curves of central slices, real and simulated, on one page (`frazil.volume.slices`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from frazil.core.slices import DIRECTIONS, SLICE_PLANES, Numbers, SliceCurves
from frazil.plots.page import FONT_POINT, Page, plain_axes, point, styled

_COLUMNS = 3


@styled
def slice_curves_page(real: SliceCurves, others: Sequence[SliceCurves], *, name: str, other: str = "simulated") -> Page:
    """Draw the power in the three planes and along their axes, the wedge, and the mean profile of each class."""
    profiles = [label for label in real.radial_profile if all(label in one.radial_profile for one in others)]
    panels = 2 * len(SLICE_PLANES) + 1 + len(profiles)
    width, height, gap, left, top, below = point(118), point(96), point(36), point(42), point(24), point(38)
    rows = -(-panels // _COLUMNS)
    caption = f"Line: {name}, real. Dots: {len(others)} x {other}, with seeds that the fit has not seen."
    page = Page.blank(
        left + _COLUMNS * width + (_COLUMNS - 1) * gap + point(12), rows * (top + height + below), caption
    )
    places = iter(range(panels))

    def panel(x_label: str, y_label: str, title: str) -> Axes:
        row, column = divmod(next(places), _COLUMNS)
        axes = page.axes(left + column * (width + gap), row * (top + height + below) + top, width, height)
        plain_axes(axes, x_label, "" if column else y_label, title)
        return axes

    def draw(axes: Axes, at: Sequence[float], own: Numbers, simulated: Sequence[Numbers]) -> None:
        axes.plot(at, _floats(own)[: len(at)], color="black", linewidth=1, label="real")
        for number, curve in enumerate(simulated):
            label = other if number == 0 else None
            axes.plot(at, _floats(curve)[: len(at)], ".", color="#D55E00", markersize=2, alpha=0.6, label=label)

    frequency = f"cycles per voxel of {real.voxel_size_angstrom:.1f} Å"
    for number, plane in enumerate(SLICE_PLANES):
        axes = panel(frequency, "log₁₀ power", f"Power in {plane}")
        draw(axes, real.cycles_per_voxel, real.log10_power[number], [one.log10_power[number] for one in others])
        if number == 0:
            axes.legend(frameon=False, fontsize=FONT_POINT)
    rings = (np.arange(len(real.sectors[DIRECTIONS[0]])) * 4 + 6) / 64
    for plane in SLICE_PLANES:
        names = [direction for direction in DIRECTIONS if direction.startswith(plane)]
        axes = panel(frequency, "log₁₀ power", " and ".join([names[0], names[1].removeprefix(f"{plane}, ")]))
        for direction in names:
            draw(axes, rings.tolist(), real.sectors[direction], [one.sectors[direction] for one in others])
    axes = panel("angle to kx in the kz-kx plane, degrees", "log₁₀ power", "Missing wedge")
    draw(axes, real.wedge_angle_degrees, real.wedge_log10_power, [one.wedge_log10_power for one in others])
    for label in profiles:
        axes = panel("distance from the center, voxels", "gray value (σ)", label)
        curves = [real.radial_profile[label], *(one.radial_profile[label] for one in others)]
        at = [float(radius) for radius in range(min(map(len, curves)))]
        draw(axes, at, curves[0], curves[1:])
    page.write_caption()
    return page


def _floats(numbers: Numbers) -> np.ndarray:
    return np.array(numbers, dtype=np.float64)
