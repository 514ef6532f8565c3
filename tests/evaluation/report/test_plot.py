"""Plots as SVG images."""

from __future__ import annotations

import base64
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from frazil.evaluation.report import plot as drawing
from frazil.evaluation.report.plot import LOOKS, draw_plot, key_uri
from frazil.evaluation.scores import Line, Plot


@pytest.fixture
def plot():
    """Return a function that makes a plot of lines."""

    def make(*lines: Line, x=(0.0, 1.0, 2.0), **titles) -> Plot:
        given = {"title": "Power", "x_title": "frequency", "y_title": "dex"}
        return Plot(name="p", x=x, lines=lines, **(given | titles))

    return make


@pytest.fixture
def figures(monkeypatch):
    """Catch the figures that are drawn."""
    caught = []
    draw = drawing.svg_uri
    monkeypatch.setattr(drawing, "svg_uri", lambda figure: caught.append(figure) or draw(figure))
    return caught


def test_a_plot_is_an_svg_image_and_the_same_plot_gives_the_same_bytes(plot):
    line = Line(name="generated", y=(0.0, 1.0, 2.0), low=(-1.0, None, 1.0), high=(1.0, 2.0, 3.0))
    picture = draw_plot(plot(line))
    kind, data = picture.uri.split(",")
    assert kind == "data:image/svg+xml;base64"
    assert ElementTree.fromstring(base64.b64decode(data)).tag.endswith("svg")
    with mpl.rc_context({"font.size": 30}):  # whatever the user's style
        assert draw_plot(plot(line)) == picture


def test_lines_bands_and_gaps_are_drawn_with_generated_on_top(plot, figures):
    lines = (
        Line(name="generated", y=(0.0, None, 2.0)),
        Line(name="real held-out", y=(1.0, 1.0, 1.0), low=(0.0, 0.0, 0.0), high=(2.0, 2.0, 2.0)),
    )
    draw_plot(plot(*lines))
    (axes,) = figures[0].axes
    held_out, generated = axes.lines
    np.testing.assert_array_equal(generated.get_ydata(), [0, np.nan, 2])
    np.testing.assert_array_equal(held_out.get_ydata(), [1, 1, 1])
    assert len(axes.collections) == 1


def test_nothing_to_draw(plot):
    assert draw_plot(plot(Line(name="generated", y=(None, None, None)))) is None
    assert draw_plot(plot()) is None
    # two points look like a finding
    assert draw_plot(plot(Line(name="generated", y=(0.0, 1.0)), x=(0.0, 100.0))) is None


def test_distant_noise_leaves_the_plot_and_the_note_says_so(plot, figures):
    generated = Line(name="generated", y=(0.0, 1.0, 2.0))
    assert draw_plot(plot(generated, Line(name="noise", y=(100.0,) * 3))).note
    assert figures[0].axes[0].get_ylim()[1] < 5  # the generated line still fills a good part
    assert not draw_plot(plot(generated, Line(name="noise", y=(3.0,) * 3))).note


def test_long_titles_are_broken_into_balanced_lines_and_not_cut(plot, figures):
    titles = {
        "x_title": "distance / median distance of held-out boxes of the class",
        "y_title": "share of volumes nearer than that",
    }
    draw_plot(plot(Line(name="generated", y=(0.0, 1.0, 2.0)), **titles))
    (figure,) = figures
    axes = figure.axes[0]
    assert axes.get_xlabel() == "distance / median distance of\nheld-out boxes of the class"
    assert axes.get_ylabel() == "share of volumes\nnearer than that"
    figure.draw_without_rendering()
    for title in (axes.xaxis.label, axes.yaxis.label):
        box = title.get_window_extent()
        assert min(box.x0, box.y0) >= -1
        assert box.x1 <= figure.bbox.width + 1
        assert box.y1 <= figure.bbox.height + 1


def test_no_two_lines_look_alike_without_color():
    looks = [(str(look["linestyle"]), look["marker"]) for look in LOOKS.values()]
    # of one evaluation, and of the generators of a comparison
    assert (len(set(looks[:5])), len(set(looks[5:]))) == (5, 6)
    assert len({key_uri(name) for name in LOOKS}) == 10


def test_alt_text_has_first_middle_and_last_values(plot):
    alt = draw_plot(plot(Line(name="generated", y=(0.0, 1.5, 2.0)))).alt
    assert "generated: 0 at 0, 1.50 at 1.00, 2.00 at 2.00" in alt
