"""A figure laid out in whole pixels, so that voxels stay square and sharp, and its saving as PNG and PDF.

Only explicit `Figure` objects: no pyplot, no global state, no display.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from frazil.core.files import atomic_path

DPI = 300  # pixels per inch of every figure
FONT_POINT = 7.0  # size of plain text, as journals ask for it

_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same figure
    "font.size": FONT_POINT,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,  # editable text
}

MARGIN = round(6 * DPI / 72)
_LINE = round(1.35 * FONT_POINT * DPI / 72)

styled = mpl.rc_context(_STYLE)
"""Decorator: the function draws in frazil's style, whatever the user's matplotlibrc says."""


def point(size: float) -> int:
    """Return `size` in points as whole pixels."""
    return round(size * DPI / 72)


@dataclass(frozen=True)
class Page:
    """A white page of `width` x `height` pixels; the origin is the upper left corner. `caption` is what is written at its bottom."""

    figure: Figure
    width: int
    height: int
    caption: Sequence[str]

    @classmethod
    def blank(cls, width: int, height: int, caption: str = "") -> Page:
        """Return an empty page with room for a caption below its `height`."""
        lines = wrap(caption, width - 2 * MARGIN)
        height += MARGIN + len(lines) * _LINE + point(6) if lines else 0
        return cls(Figure(figsize=(width / DPI, height / DPI), dpi=DPI), width, height, lines)

    def axes(self, left: int, top: int, width: int, height: int) -> Axes:
        """Add axes that fill a rectangle of the page."""
        bottom = self.height - top - height
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write `text` with its upper left corner at (left, top), or as `ha` and `va` say."""
        style = {"ha": "left", "va": "top", "fontsize": FONT_POINT, **style}
        # parse_math: a label may hold a dollar sign
        self.figure.text(left / self.width, 1 - top / self.height, text, parse_math=False, **style)

    def write_caption(self) -> None:
        """Write the caption into its room."""
        for number, line in enumerate(reversed(self.caption), start=1):
            # on the baseline: aligned at the top, lines with tall letters would be lower
            baseline = self.height - MARGIN - (number - 0.8) * _LINE
            self.text(MARGIN, baseline, line, color="0.15", va="baseline")


@styled
def text_width(text: str, size: float = FONT_POINT) -> float:
    """Return the width in pixels of `text` on one line at `size` points."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(width) * DPI / 72


def wrap(text: str, width: int, size: float = FONT_POINT) -> list[str]:
    """Break `text` at spaces into lines that fit in `width` pixels at `size` points; no-break spaces hold."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        elif word:
            lines.append(word)
    return lines


def plain_axes(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Label `axes` and simplify them: fine ticks, no upper and right spine, faint horizontal lines."""
    axes.set_title(title, fontsize=FONT_POINT + 0.5, loc="left", pad=4)
    axes.set_xlabel(x, fontsize=FONT_POINT)
    axes.set_ylabel(y, fontsize=FONT_POINT)
    axes.tick_params(labelsize=FONT_POINT - 0.5, width=0.6, length=2.5)
    axes.tick_params(which="minor", width=0.4, length=1.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)


@styled
def save_figure(figure: Figure, path: Path) -> tuple[Path, Path]:
    """Save `figure` as `path` + ``.png`` and ``.pdf``; the same figure gives the same bytes."""
    # fontTools logs at INFO which glyphs it embeds, and importing copick turns INFO on for everybody
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    undated: dict[str, Any] = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}
    png, pdf = (path.with_name(f"{path.name}.{form}") for form in undated)
    for file, (form, metadata) in zip((png, pdf), undated.items(), strict=True):
        drawn = io.BytesIO()  # where a disk is full, matplotlib ends in errors of its own
        figure.savefig(drawn, format=form, dpi=DPI, metadata=metadata)
        with atomic_path(file) as temporary:
            temporary.write_bytes(drawn.getvalue())
    return png, pdf


def svg_uri(figure: Figure) -> str:
    """Return `figure` as the ``data:`` address of an SVG, for a page that needs no other file."""
    stream = io.BytesIO()
    undated: Any = {"Date": None}
    figure.savefig(stream, format="svg", transparent=True, metadata=undated)
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
