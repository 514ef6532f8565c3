"""Several evaluations side by side."""

from __future__ import annotations

import pytest

from frazil.evaluation.report.comparison import best, letters, pictures, values
from frazil.evaluation.report.table import tables


def row(evaluations, title: str):
    return next(own for question in tables(evaluations) for own in question.together.rows if own.head == title)


@pytest.mark.parametrize(
    ("factors", "place", "why"),
    [
        ((3.0, 1.0), 1, ""),
        ((1.1, 1.0), None, "no clear difference"),
        ((1.1, 1.0, 9.0), None, "no clear best"),
        ((1.0, 1.0), None, "no difference"),
    ],
)
def test_the_best_is_marked_where_intervals_do_not_overlap(evaluation, factors, place, why):
    own = row([evaluation(factor=factor) for factor in factors], "Distance of the power spectrum")
    found, undecided = best(own.scores)
    assert found == place
    assert undecided.endswith(why)


def test_without_an_interval_none_is_best(score):
    assert best([score(0.2, 0.1), score(0.1, 0.1)]) == (None, "no interval, so none is called the best")


def test_as_real_is_best_closest_to_real_from_either_side(score):
    scores = [score(value, -1.5, interval=(value - 0.1, value + 0.1), better="as real") for value in (-2.5, -1.2, 0.0)]
    assert best(scores) == (1, "")


def test_what_no_generator_has_is_said_in_one_line(evaluation, score):
    few = "9 volumes; 10 are needed"
    scores = (
        *(score(None, None, label=label, note=few) for label in "ab"),
        score(label="c"),
        score(None, None, name="recall", title="Recall", label="a", note=few),
    )
    alone = (score(None, None, label="a", note=few), score(label="b"), score(label="c"))
    classes = tables([evaluation(scores=scores)] * 2)[0].classes_only
    assert [own.head for group in classes.groups for own in group.rows] == ["c"]
    assert [one.metrics for one in classes.unmeasured] == [("Frechet distance (a, b)", "Recall")]
    # what one of them has keeps its row
    classes = tables([evaluation(scores=scores), evaluation(scores=alone)])[0].classes_only
    assert [(group.title, [own.head for own in group.rows]) for group in classes.groups] == [
        ("Frechet distance", ["a", "b", "c"]),
        ("Recall", ["a"]),
    ]


def test_a_metric_that_one_generator_lacks_keeps_its_place(evaluation, score):
    only = evaluation(scores=(score(name="vendi_learned", title="Vendi", question="varied"),))
    evaluations = [only, evaluation()]
    assert row(evaluations, "Vendi").scores[1] is None
    assert row(evaluations, "Distance of the power spectrum").scores[0] is None
    assert values(row(evaluations, "Vendi")) == "A 0.400"


def test_letters_at_one_place_are_on_different_levels(evaluation):
    marks = letters(row([evaluation()] * 3, "Distance of the power spectrum"))
    assert sorted(mark.level for mark in marks) == [0, 1, 2]
    assert len({mark.x for mark in marks}) == 1


def test_plots_lay_the_generators_over_the_real_line(evaluation):
    first = pictures([evaluation(), evaluation(factor=1.5)])[0]
    assert [part.split(":")[0] for part in first.alt.split(". ", 1)[1].split("; ")] == ["B", "A", "real held-out"]
