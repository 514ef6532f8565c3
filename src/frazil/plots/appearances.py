"""Spectra, wedge and gray values of two sets of volumes on one page: real next to simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from frazil.plots.page import FONT_POINT, Page, plain_axes, point, styled
from frazil.volume.spectra import PLANES, Appearance, Curve, mean_curve

# They differ in dashes and markers as well as in color (Okabe & Ito).
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "black", "linestyle": "-"},
    {"color": "#D55E00", "linestyle": (0, (4, 1.5)), "marker": "o", "markersize": 2.5, "markerfacecolor": "white"},
)
_BINS = np.linspace(-10, 5, 76)


@dataclass(frozen=True)
class Series:
    """Volumes that are drawn as one curve with the range that they span; `grey_values` are z-scored, of all together."""

    name: str
    appearances: Sequence[Appearance]
    grey_values: Float[np.ndarray, "voxels"]


@styled
def appearance_page(series: Sequence[Series], *, voxel_size_angstrom: float, caption: str = "") -> Page:
    """Draw log power in the three planes, the wedge profile and the gray values, of two series at most."""
    width, height, gap, left, top, below = point(118), point(118), point(36), point(42), point(24), point(38)
    page_width = left + 3 * width + 2 * gap + point(12)
    row = top + height + below
    page = Page.blank(page_width, 2 * row, caption)
    for number, plane in enumerate(PLANES):
        axes = page.axes(left + number * (width + gap), top, width, height)
        _draw(axes, series, [[one.spectra[plane] for one in some.appearances] for some in series])
        frequency = f"cycles per voxel of {voxel_size_angstrom:.1f} Å"
        plain_axes(axes, frequency, "" if number else "log₁₀ power", f"Power in {plane}")
    axes = page.axes(left, row + top, width, height)
    _draw(axes, series, [[one.wedge for one in some.appearances] for some in series])
    axes.set_xlim(0, 90)
    axes.set_xticks([0, 30, 60, 90])
    plain_axes(axes, "angle to kx in the kz-kx plane, degrees", "log₁₀ power over that at kx", "Missing wedge")
    axes = page.axes(left + width + gap, row + top, 2 * width + gap, height)
    for some, style in zip(series, _STYLES, strict=False):
        share, _ = np.histogram(np.clip(some.grey_values, _BINS[0], _BINS[-1]), _BINS, density=True)
        filled = share > 0
        line = {key: value for key, value in style.items() if not key.startswith("marker")}
        axes.plot(((_BINS[:-1] + _BINS[1:]) / 2)[filled], share[filled], label=some.name, linewidth=1, **line)
    axes.set_yscale("log")
    plain_axes(axes, "standard deviations from the mean (particles dark)", "share per σ", "Gray values")
    axes.legend(frameon=False, fontsize=FONT_POINT, handlelength=3, loc="upper left")
    page.write_caption()
    return page


def _draw(axes: Axes, series: Sequence[Series], curves: Sequence[list[Curve]]) -> None:
    """Draw the mean curve of each series over the range of its curves."""
    for some, own, style in zip(series, curves, _STYLES, strict=False):
        mean = mean_curve(own)
        if len(own) > 1:
            powers = np.array([curve.log_power for curve in own])
            axes.fill_between(
                mean.at, powers.min(axis=0), powers.max(axis=0), color=style["color"], alpha=0.15, linewidth=0
            )
        axes.plot(mean.at, mean.log_power, label=some.name, linewidth=1, markevery=2, **style)
