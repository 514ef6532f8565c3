"""`report.html` and `comparison.html`: pages that open from disk, need no network, and show whether generated volumes can be trusted.

A page is readable without JavaScript; only the 3D viewer needs it. Its security policy forbids every request.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from frazil.core.files import write_text
from frazil.core.version import __version__
from frazil.evaluation.examples import Examples
from frazil.evaluation.report import comparison, numbers, strip
from frazil.evaluation.report.gallery import gallery, pair_pictures
from frazil.evaluation.report.plot import Picture, draw_plot, key_uri
from frazil.evaluation.report.table import ASKS, RIVALS_TITLE, tables, written
from frazil.evaluation.report.viewer import niivue, viewer
from frazil.evaluation.scores import Evaluation, Score
from frazil.evaluation.verdicts import compared_with
from frazil.plots.slices import PLANES


def write_report(path: Path, evaluation: Evaluation, examples: Examples) -> None:
    """Write the report of an evaluation as one HTML file of less than 12 MB; the same input gives the same bytes."""
    shown = viewer(examples)
    drawn: dict[str, list[Picture]] = {}
    for plot in evaluation.plots:
        if (picture := draw_plot(plot)) is not None:
            drawn.setdefault(plot.name, []).append(picture)
    context = {
        "evaluation": evaluation,
        "tables": tables([evaluation]),
        "controls": [
            kind for kind in ("noise", "shuffled") if any(getattr(one, kind) is not None for one in evaluation.scores)
        ],
        "plots": drawn,
        "gallery": gallery(examples, evaluation.generated.voxel_size_angstrom),
        "planes": PLANES,
        "examples": examples,
        "pairs": pair_pictures(evaluation.close_pairs, examples),
        "viewer": shown,
        "places": {(volume.kind, volume.row): place for place, volume in enumerate(shown.volumes)},
        "niivue": niivue(),
        "sets": [
            ("Generated", evaluation.generated),
            ("Real, held out", evaluation.held_out),
            ("Real, training", evaluation.training),
            *([("Real slices", evaluation.curves)] if evaluation.curves is not None else []),
        ],
        "compared_with": compared_with(evaluation),
    }
    write_text(path, _page("report.html.j2", [evaluation], context))


def write_comparison(path: Path, evaluations: Sequence[Evaluation], cautions: Sequence[str]) -> None:
    """Write several generators side by side as one HTML file: a column each, the same rows."""
    context = {
        "evaluations": evaluations,
        "cautions": cautions,
        "tables": tables(evaluations),
        "comparison": comparison,
        "pictures": comparison.pictures(evaluations),
    }
    write_text(path, _page("comparison.html.j2", evaluations, context))


def glossary(scores: Iterable[Score]) -> list[dict[str, Any]]:
    """Return the entries of `assets/glossary.toml` that a reader of `scores` needs."""
    asset = files("frazil.evaluation.report") / "assets" / "glossary.toml"
    names = {score.name for score in scores}
    return [
        entry
        for entry in tomllib.loads(asset.read_text(encoding="utf-8"))["entry"]
        if "starts" not in entry or any(name.startswith(tuple(entry["starts"])) for name in names)
    ]


def _page(template: str, evaluations: Sequence[Evaluation], context: dict[str, Any]) -> str:
    shared = {
        "asks": ASKS,
        "rivals_title": RIVALS_TITLE,
        "version": __version__,
        "strips": strip,
        "written": written,
        "key_uri": key_uri,
        "entries": glossary(score for own in evaluations for score in own.scores),
        "labels": sorted(
            {
                label
                for own in evaluations
                for label in (own.generated.counts | own.held_out.counts | own.training.counts)
            }
        ),
    }
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
    environment.filters["number"] = numbers.number
    return environment
