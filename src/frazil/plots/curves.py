"""The paper's Figure 1: training and validation loss by epoch, and the validation loss by noise level."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from frazil.core.errors import CheckpointError
from frazil.io.tables import read_csv
from frazil.plots.page import FONT_POINT, Page, plain_axes, point, styled

LOSSES_FILE = "metrics.csv"  # where `frazil train` writes its losses, in its run folder

REQUIRED = ("epoch", "train_loss", "validation_loss")
_NOISE_LEVEL = re.compile(r"validation_loss_t(\d+)_(\d+)")

# black and the blue of Okabe & Ito; every curve also has its own dashes or markers, so no curve is identified by color alone
_TRAIN = {"color": "black", "linestyle": "-", "linewidth": 1.0}
_VALIDATION = {
    "color": "#0072B2", "linestyle": (0, (4, 1.5)), "linewidth": 1.0,
    "marker": "o", "markersize": 3, "markerfacecolor": "white",
}  # fmt: skip
_LEVELS = (
    {"color": "0.65", "marker": "s", "linestyle": ":"},
    {"color": "0.45", "marker": "^", "linestyle": "-."},
    {"color": "0.25", "marker": "D", "linestyle": "--"},
    {"color": "0.00", "marker": "o", "linestyle": "-"},
)


def read_metrics(path: Path) -> pd.DataFrame:
    """Read the losses that a training run wrote, one row per epoch.

    Columns are ``epoch``, ``train_loss``, ``validation_loss`` and one per noise level, NaN where nothing was measured.
    """
    table = read_csv(path, REQUIRED, CheckpointError)
    wanted = [*REQUIRED, *(name for name in map(str, table.cells) if _NOISE_LEVEL.fullmatch(name))]
    return pd.DataFrame({name: table.numbers(name, empty_allowed=True) for name in wanted})


@styled
def loss_page(metrics: pd.DataFrame, *, caption: str = "") -> Page:
    """Draw the losses of a run, as `read_metrics` returns them; `caption` is printed below."""
    levels = [name for name in metrics if _NOISE_LEVEL.fullmatch(str(name))]
    by_level = metrics.loc[metrics[levels].notna().any(axis=1)] if levels else metrics.iloc[:0]
    width, height = point(250), point(160)
    left, top, between, below = point(40), point(20), point(52), point(34)
    panels = 2 if len(by_level) else 1
    page_width = left + panels * width + (panels - 1) * between + point(14)
    page = Page.blank(page_width, top + height + below, caption)
    _draw_losses(page.axes(left, top, width, height), metrics)
    if panels == 2:
        second = left + width + between
        by_noise = page.axes(second, top, width, height)
        _draw_noise_levels(by_noise, by_level, [str(name) for name in levels])
        for letter, start in (("a", left), ("b", second)):
            page.text(start - point(34), point(5), letter, fontsize=10, fontweight="bold")
    for axes in page.figure.axes:
        axes.legend(frameon=False, fontsize=FONT_POINT, handlelength=3)
    page.write_caption()
    return page


def _draw_losses(axes: Axes, metrics: pd.DataFrame) -> None:
    axes.plot(metrics["epoch"], metrics["train_loss"], label="training", **_TRAIN)  # type: ignore[arg-type]
    if len(metrics) == 1:
        axes.plot(metrics["epoch"], metrics["train_loss"], "s", color="black", markersize=3)
    validated = metrics[metrics["validation_loss"].notna()]
    if len(validated):
        every = max(1, len(validated) // 25)  # a mark at every epoch would hide the line
        axes.plot(validated["epoch"], validated["validation_loss"], label="validation", markevery=every, **_VALIDATION)  # type: ignore[arg-type]
    last = metrics["epoch"].max()
    axes.set_xlim(0, last + max(1, last / 40))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    plain_axes(axes, "Epoch", "Loss, mean squared error of x₀ (σ²)")


def _draw_noise_levels(axes: Axes, metrics: pd.DataFrame, levels: list[str]) -> None:
    bounds = np.array([[int(edge) for edge in _NOISE_LEVEL.fullmatch(name).groups()] for name in levels])  # type: ignore[union-attr]
    middle = bounds.mean(axis=1)
    last = len(metrics) - 1
    shown = sorted({round(row) for row in np.geomspace(1, last + 1, len(_LEVELS)) - 1} | {0, last})
    for row, style in zip(shown, _LEVELS[-len(shown) :], strict=True):
        epoch = metrics.iloc[row]
        axes.plot(middle, epoch[levels], label=f"epoch {epoch['epoch']:.0f}", linewidth=1.0, markersize=3, **style)  # type: ignore[arg-type]
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(0, bounds.max() + 1)
    plain_axes(axes, "Noise level t", "Validation loss (σ²)")
