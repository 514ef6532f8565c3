"""Plots of an evaluation, drawn by matplotlib as SVG images. Lines differ in dashes and markers as well as in color."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from frazil.evaluation.report.numbers import number
from frazil.evaluation.scores import Line, Plot
from frazil.plots.page import svg_uri

Look = dict[str, Any]

LOOKS: dict[str, Look] = {
    "generated": {"color": "#0061a8", "linestyle": "-", "marker": "o"},
    "real held-out": {"color": "#16191d", "linestyle": (0, (3.5, 1.8)), "marker": "s", "markerfacecolor": "white"},
    "real training": {"color": "#5f666f", "linestyle": (0, (1, 1.2)), "marker": "^", "markerfacecolor": "white"},
    "real slices": {"color": "#16191d", "linestyle": (0, (6, 1.5)), "marker": "D", "markerfacecolor": "white"},
    "noise": {"color": "#a84300", "linestyle": (0, (4, 1.5, 1, 1.5)), "marker": "x"},
    # the generators of a comparison
    "0": {"color": "#0061a8", "linestyle": "-", "marker": "o"},
    "1": {"color": "#a84300", "linestyle": (0, (5, 1.5)), "marker": "s", "markerfacecolor": "white"},
    "2": {"color": "#00734d", "linestyle": (0, (1.5, 1.2)), "marker": "^", "markerfacecolor": "white"},
    "3": {"color": "#7a3e78", "linestyle": (0, (4.5, 1.5, 1, 1.5)), "marker": "x"},
    "4": {"color": "#8a6d00", "linestyle": (0, (2.5, 1)), "marker": "D", "markerfacecolor": "white"},
    "5": {"color": "#5c6670", "linestyle": (0, (1, 1)), "marker": "+"},
}

_STYLE: Any = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 8.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "frazil",  # the same plot gives the same bytes
    "axes.edgecolor": "#80868f",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "ytick.left": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
}
_X_LETTERS, _Y_LETTERS = 44, 30
_MARKERS = 7
_POSITIONS = 3  # the fewest points that make a line: a line through two looks like a finding and is not one
_NOISE_ROOM = 0.75
"""Noise may widen the plot on either side by this share of the range of the other lines; beyond that it is cut off."""


@dataclass(frozen=True)
class Picture:
    """A plot as the ``data:`` address of an SVG, in words, and what the reader must know of it."""

    title: str
    label: str | None
    uri: str
    alt: str
    note: str


def draw_plot(plot: Plot) -> Picture | None:
    """Return the picture of `plot`; None where it has no value at all, or too few positions for a line."""
    return draw_lines(plot, {line.name: (line.name, line) for line in plot.lines})


def draw_lines(plot: Plot, lines: Mapping[str, tuple[str, Line]]) -> Picture | None:
    """Return a picture of `lines` over the positions of `plot`, with its titles; None as in `draw_plot`.

    `lines` has looks and lines by their names for people; the first is drawn on top.
    """
    lines = {name: own for name, own in lines.items() if any(value is not None for value in own[1].y)}
    if not lines or len(plot.x) < _POSITIONS:
        return None
    low, high, note = _range([line for _, line in lines.values()])
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.6, 2.5), layout="constrained")
        axes = figure.add_subplot(
            xlabel=_wrapped(plot.x_title, _X_LETTERS), ylabel=_wrapped(plot.y_title, _Y_LETTERS), ylim=(low, high)
        )
        axes.margins(x=0.02)
        for place, (look, line) in enumerate(reversed(lines.values())):
            y, below, above = (np.array(values, dtype=np.float64) for values in (line.y, line.low, line.high))
            if len(below) == len(above) == len(y):
                axes.fill_between(plot.x, below, above, color=LOOKS[look]["color"], alpha=0.18, linewidth=0)
            known = np.flatnonzero(np.isfinite(y))
            every = max(1, len(known) // _MARKERS)
            first = (place * every) // 4  # so that the markers of different lines are apart
            axes.plot(plot.x, y, markevery=known[first::every].tolist(), **LOOKS[look])
        return Picture(plot.title, plot.label, svg_uri(figure), _alt(plot, lines), note)


@cache
def key_uri(look: str) -> str:
    """Return a short piece of line for the key of the plots."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(0.44, 0.14))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.plot([0, 1, 2], [0, 0, 0], markevery=[1], **LOOKS[look])
        return svg_uri(figure)


def _wrapped(title: str, letters: int) -> str:
    """Break `title` into as few lines of at most `letters` as possible, of about equal length."""
    fewest = len(textwrap.wrap(title, letters, break_long_words=False))
    tries = (textwrap.wrap(title, width, break_long_words=False) for width in range(1, letters + 1))
    return "\n".join(next(lines for lines in tries if len(lines) == fewest))


def _range(lines: Sequence[Line]) -> tuple[float, float, str]:
    """Return the lowest and highest value to show, with a margin, and a note if noise goes further."""
    noise = [value for line in lines if line.name == "noise" for value in line.y if value is not None]
    others = [line for line in lines if line.name != "noise"]
    rest = [value for line in others for value in (*line.y, *line.low, *line.high) if value is not None]
    low, high = min(rest or noise), max(rest or noise)
    note = ""
    if rest and noise:
        room = _NOISE_ROOM * (high - low)
        low, high = max(min(low, *noise), low - room), min(max(high, *noise), high + room)
        if min(noise) < low or max(noise) > high:
            note = "Noise continues outside the plot."
    margin = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return low - margin, high + margin, note


def _alt(plot: Plot, lines: Mapping[str, tuple[str, Line]]) -> str:
    """Describe each line by its first, middle and last value."""
    parts = []
    for name, (_, line) in lines.items():
        known = [(at, value) for at, value in zip(plot.x, line.y, strict=True) if value is not None]
        points = [known[0], known[len(known) // 2], known[-1]]
        parts.append(f"{name}: " + ", ".join(f"{number(value)} at {number(at)}" for at, value in points))
    return f"{plot.title}: {plot.y_title} by {plot.x_title}. {'; '.join(parts)}."
