"""The page of a proof: `report.html`, which opens from disk and needs no network."""

from __future__ import annotations

from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from frazil.core.version import __version__
from frazil.plots.page import svg_uri
from frazil.proof.records import ArmResult, Interval, Proof

_STYLE: Any = {
    "font.family": ["DejaVu Sans", "sans-serif"], "font.size": 8.5, "svg.fonttype": "none", "svg.hashsalt": "frazil",
    "axes.spines.right": False, "axes.spines.top": False, "axes.edgecolor": "#80868f", "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#e6e8eb",
}  # fmt: skip
_FEWEST_PICKERS = 5
"""With fewer, intervals are too narrow."""

_CHEAP, _MADE = "#5f666f", "#0061a8"
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (4.5, 1.5, 1, 1.5)), (0, (2.5, 1)), (0, (1, 1)))
_COLORS = ("#0061a8", "#a84300", "#00734d", "#7a3e78", "#8a6d00", "#5c6670")


def report_html(proof: Proof) -> str:
    """Return the page; the same proof gives the same bytes."""
    labels = list(proof.arms[0].classes)
    page: str = _template().render(
        proof=proof,
        answer=answer(proof),
        labels=labels,
        arms_uri=_arms_picture(proof),
        curves={label: _curves_picture(proof, label) for label in labels},
        shown=[arm.name for arm in shown_arms(proof)],
        written=_written,
        version=__version__,
    )
    return page


def answer(proof: Proof) -> str:
    """Return in a sentence whether pickers gain."""
    made = [arm for arm in proof.arms if not arm.cheap and arm.gain is not None]
    if not made or proof.best_cheap is None:
        return "No made tomograms were mixed in, so there is no gain to tell."
    best = max(made, key=lambda arm: arm.f_beta.mean)
    assert best.gain is not None
    said = f"{best.name} over {proof.best_cheap}: {best.gain.mean:+.3f} ({_written(best.gain)})"
    if proof.seeds < _FEWEST_PICKERS or len(proof.request.test) == 1:
        said += f"; only an indication, with {proof.seeds} pickers an arm and {len(proof.request.test)} test tomograms"
    if best.gain.low > 0:
        return f"Pickers gain. {said}."
    return f"{'Pickers lose' if best.gain.high < 0 else 'No gain is shown'}. {said}."


def shown_arms(proof: Proof) -> list[ArmResult]:
    """Return the arms whose curves are drawn: the best cheap one, and the best of each project."""
    best: dict[str, ArmResult] = {}
    for arm in proof.arms:
        group = "" if arm.cheap else arm.name.rsplit(" ", 1)[0]
        if group not in best or arm.f_beta.mean > best[group].f_beta.mean:
            best[group] = arm
    return list(best.values())[: len(_COLORS)]


def _written(interval: Interval) -> str:
    return f"95 %: {interval.low:.3f} to {interval.high:.3f}"


def _arms_picture(proof: Proof) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 0.5 + 0.28 * len(proof.arms)), layout="constrained")
        rows = (-0.5, len(proof.arms) - 0.5)
        axes = figure.add_subplot(xlabel=f"F-beta({proof.beta:g}), weighted over the classes", ylim=rows)
        axes.grid(visible=False, axis="y")
        for row, arm in enumerate(reversed(proof.arms)):
            color, interval = _CHEAP if arm.cheap else _MADE, arm.f_beta
            axes.plot([interval.low, interval.high], [row, row], color=color, linewidth=3, alpha=0.35)
            axes.plot(interval.mean, row, "o", color=color, markersize=5)
            axes.plot(arm.by_seed, [row] * len(arm.by_seed), "|", color=color, markersize=7, alpha=0.7)
            axes.plot(arm.ceiling, row, "D", color=color, markersize=3.5, markerfacecolor="white")
        axes.set_yticks(range(len(proof.arms)), [arm.name for arm in reversed(proof.arms)])
        return svg_uri(figure)


def _curves_picture(proof: Proof, label: str) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(3.5, 2.6), layout="constrained")
        axes: Axes = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        for number, arm in enumerate(shown_arms(proof)):
            own = arm.classes[label]
            values = np.array([np.nan if value is None else value for value in own.curve])
            look: Any = {"color": _COLORS[number], "linestyle": _DASHES[number]}
            axes.plot(np.linspace(0, 1, len(values)), values, label=arm.name, linewidth=1.4, **look)
            axes.plot(own.recall, own.precision, "o", color=look["color"], markersize=4, clip_on=False)
        axes.legend(fontsize=7, loc="lower left", frameon=False)
        return svg_uri(figure)


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("frazil.proof", "assets"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template("report.html.j2")
