"""`report.html`: one page that opens from disk, needs no network and tells whether generated volumes can be trusted.

The page is readable without JavaScript; only the 3D viewer needs it. Its security policy forbids every request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from frazil.core.files import write_text
from frazil.core.version import __version__
from frazil.evaluation.examples.files import Examples
from frazil.evaluation.report import numbers, plot, strip
from frazil.evaluation.report.comparison import compare
from frazil.evaluation.report.gallery import gallery, pair_pictures
from frazil.evaluation.report.glossary import entries
from frazil.evaluation.report.plot import Picture, draw_plot
from frazil.evaluation.report.table import ASKS, RIVALS_TITLE, tables
from frazil.evaluation.report.viewer import niivue_licence, niivue_script, niivue_version, viewer
from frazil.evaluation.scores import QUESTIONS, Evaluation, Plot, SetDescription, Verdict


@dataclass(frozen=True)
class PlotGroup:
    """The pictures of plots of one name: one, or one a class."""

    title: str
    pictures: tuple[tuple[str | None, Picture], ...]


def write_report(path: Path, evaluation: Evaluation, examples: Examples) -> None:
    """Write the report of an evaluation as one HTML file of less than 12 MB; the same input gives the same bytes.

    Parameters
    ----------
    examples : volumes for the gallery, the viewer and the closest pairs.

    Raises
    ------
    OutputError : the place cannot be written.
    """
    voxel_size = evaluation.generated.voxel_size_angstrom
    shown = viewer(examples, voxel_size)
    context = {
        "evaluation": evaluation,
        "verdicts": ordered_verdicts(evaluation),
        "tables": tables(evaluation.scores),
        "rivals_title": RIVALS_TITLE,
        "controls": [
            kind for kind in ("noise", "shuffled") if any(getattr(one, kind) is not None for one in evaluation.scores)
        ],
        "plots": _grouped(evaluation.plots),
        "gallery": gallery(examples, voxel_size),
        "examples": examples,
        "pairs": pair_pictures(evaluation.close_pairs, examples),
        "viewer": shown,
        "places": {(volume.kind, volume.row): place for place, volume in enumerate(shown.volumes)},
        "niivue": niivue_script() if shown.volumes else "",
        "niivue_version": niivue_version(),
        "niivue_licence": niivue_licence(),
        "entries": entries(evaluation.scores),
        "labels": class_names([evaluation]),
        "sets": described_sets(evaluation),
    }
    write_text(path, _page("report.html.j2", context))


def write_comparison(path: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write several generators side by side as one HTML file: a column each, the same rows.

    Raises
    ------
    OutputError : the place cannot be written.
    ValueError : nothing to compare.
    """
    if not evaluations:
        raise ValueError("a comparison takes at least one evaluation")
    context = {
        "comparison": compare(evaluations),
        "rivals_title": RIVALS_TITLE,
        "evaluations": evaluations,
        "verdicts": [ordered_verdicts(evaluation) for evaluation in evaluations],
        "entries": entries([score for evaluation in evaluations for score in evaluation.scores]),
        "labels": class_names(evaluations),
    }
    write_text(path, _page("comparison.html.j2", context))


def ordered_verdicts(evaluation: Evaluation) -> list[Verdict]:
    """Return one verdict a question, in the order of the questions; one that is missing was not measured."""
    given = {verdict.question: verdict for verdict in evaluation.verdicts}
    unknown = "No verdict was given."
    return [
        given.get(question, Verdict(question=question, answer="not measured", sentence=unknown))
        for question in QUESTIONS
    ]


def described_sets(evaluation: Evaluation) -> list[tuple[str, SetDescription]]:
    """Return the sets that were compared, with what each is to the report."""
    return [
        ("Generated", evaluation.generated),
        ("Real, held out", evaluation.held_out),
        ("Real, training", evaluation.training),
    ]


def class_names(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the classes of all sets of all evaluations, sorted."""
    sets = [own for evaluation in evaluations for _, own in described_sets(evaluation)]
    return sorted({label for own in sets for label in own.counts})


def _grouped(plots: Sequence[Plot]) -> list[PlotGroup]:
    """Draw the plots; those of one name stand together, and those of all classes come first."""
    groups = []
    for name in dict.fromkeys(one.name for one in plots):
        own = [one for one in plots if one.name == name]
        drawn = [(one.label, picture) for one in own if (picture := draw_plot(one)) is not None]
        if drawn:
            groups.append(PlotGroup(own[0].title, tuple(drawn)))
    return groups


def _page(template: str, context: dict[str, Any]) -> str:
    shared = {"asks": ASKS, "version": __version__, "strips": strip, "plot_size": plot}
    return _environment().get_template(template).render(**shared, **context)


@cache
def _environment() -> Environment:
    """Return the templates. All text is escaped: names of files and classes are other people's."""
    environment = Environment(
        loader=PackageLoader("frazil.evaluation.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = partial(numbers.number)
    environment.filters["duration"] = numbers.duration
    return environment
