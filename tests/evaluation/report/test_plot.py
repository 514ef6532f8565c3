"""Lines in pixels."""

from __future__ import annotations

import re

import pytest

from frazil.evaluation.report.plot import HEIGHT, WIDTH, draw_plot
from frazil.evaluation.scores import Line, Plot


def plot(*lines: Line, x=(0.0, 1.0, 2.0)) -> Plot:
    return Plot(name="p", title="Power", x_title="frequency", y_title="dex", x=x, lines=lines)


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.-]+) ([\d.-]+)", path)]


def test_straight_line_is_drawn_straight_upwards_inside_the_frame():
    picture = draw_plot(plot(Line(name="generated", y=(0.0, 1.0, 2.0))))
    (start, middle, end) = points(picture.series[0].line)
    assert start[0] == picture.left
    assert end[0] == picture.right
    assert middle == pytest.approx(((start[0] + end[0]) / 2, (start[1] + end[1]) / 2), abs=0.1)
    assert picture.top < end[1] < start[1] < picture.bottom


def test_missing_values_break_the_line():
    picture = draw_plot(plot(Line(name="generated", y=(0.0, None, 2.0))))
    assert picture.series[0].line.count("M") == 2
    assert "nan" not in picture.series[0].line


def test_band_is_closed_and_breaks_with_its_bounds():
    line = Line(name="generated", y=(0.0, 1.0, 2.0), low=(-1.0, None, 1.0), high=(1.0, 2.0, 3.0))
    band = draw_plot(plot(line)).series[0].band
    assert band.count("Z") == 2


def test_nothing_to_draw():
    assert draw_plot(plot(Line(name="generated", y=(None, None, None)))) is None
    assert draw_plot(plot()) is None


def test_a_line_takes_three_positions():
    """Two points look like a finding."""
    assert draw_plot(plot(Line(name="generated", y=(0.0, 1.0)), x=(0.0, 100.0))) is None


def test_long_titles_are_broken_into_lines_of_like_length():
    line = Line(name="generated", y=(0.0, 1.0, 2.0))
    titles = {
        "x_title": "distance / median distance of held-out boxes of the class",
        "y_title": "share of volumes nearer than that",
    }
    picture = draw_plot(plot(line).model_copy(update=titles))
    assert picture.x_title == ("distance / median distance of", "held-out boxes of the class")
    assert picture.y_title == ("share of volumes", "nearer than that")
    assert draw_plot(plot(line)).x_title == ("frequency",)
    unbroken = draw_plot(plot(line).model_copy(update={"x_title": "x" * 60, "y_title": ""}))
    assert (unbroken.x_title, unbroken.y_title) == (("x" * 60,), ("",))


def test_constant_line_and_line_of_zeros_have_a_range():
    for value in (5.0, 0.0):
        picture = draw_plot(plot(Line(name="generated", y=(value,) * 3)))
        assert all(0 < y < HEIGHT for _, y in points(picture.series[0].line))


def test_far_noise_leaves_the_picture_and_says_so():
    far = draw_plot(plot(Line(name="generated", y=(0.0, 1.0, 2.0)), Line(name="noise", y=(100.0,) * 3)))
    near = draw_plot(plot(Line(name="generated", y=(0.0, 1.0, 2.0)), Line(name="noise", y=(3.0,) * 3)))
    assert far.note
    assert not near.note
    start, _, end = points(far.series[-1].line)
    assert start[1] - end[1] > HEIGHT / 4  # the generated line still fills a good part


def test_generated_is_drawn_last_and_lines_have_different_marks():
    names = ("generated", "real held-out", "real training", "noise")
    picture = draw_plot(plot(*(Line(name=name, y=(0.0, 1.0, 2.0)) for name in names)))
    assert [series.key for series in picture.series] == ["noise", "real-training", "real-held-out", "generated"]


def test_ticks_are_round_and_inside():
    picture = draw_plot(plot(Line(name="generated", y=(-1.7, 0.0, 1.9)), x=(0.04, 0.2, 0.46)))
    assert [text for _, text in picture.y_ticks] == ["−1", "0", "1", "2"]
    assert [text for _, text in picture.x_ticks] == ["0.1", "0.2", "0.3", "0.4"]
    assert all(picture.left <= x <= picture.right <= WIDTH for x, _ in picture.x_ticks)


def test_alt_text_has_first_middle_and_last_values():
    alt = draw_plot(plot(Line(name="generated", y=(0.0, 1.5, 2.0)))).alt
    assert "generated: 0 at 0, 1.50 at 1.00, 2.00 at 2.00" in alt
