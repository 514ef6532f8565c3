"""Several evaluations side by side."""

from __future__ import annotations

import pytest

from frazil.reporting.evaluation_comparison import compare


def row(comparison, title: str):
    return next(own for question in comparison.questions for own in question.rows if own.title == title)


@pytest.mark.parametrize(("factor", "clear"), [(3.0, True), (1.1, False)])
def test_best_is_marked_and_overlapping_intervals_are_told(evaluation, factor, clear):
    own = row(compare([evaluation(factor=factor), evaluation()]), "Distance of the power spectrum")
    assert [cell.best for cell in own.cells] == [False, True]
    assert own.cells[1].clear is clear


def test_equal_values_have_no_best(evaluation):
    own = row(compare([evaluation(), evaluation()]), "Coverage")
    assert not any(cell.best for cell in own.cells)


def test_as_real_is_best_closest_to_real_from_either_side(evaluation, score):
    def with_skew(value: float):
        return evaluation(scores=(score(value, -1.5, name="skew", title="Skew", better="as real"),))

    own = row(compare([with_skew(-2.5), with_skew(-1.2), with_skew(0.0)]), "Skew")
    assert [cell.best for cell in own.cells] == [False, True, False]


def test_metric_that_one_generator_lacks(evaluation, score):
    only = evaluation(scores=(score(name="vendi_learned", title="Vendi", question="varied"),))
    comparison = compare([only, evaluation()])
    vendi, spectrum = row(comparison, "Vendi"), row(comparison, "Distance of the power spectrum")
    assert vendi.cells[1].note
    assert not vendi.cells[0].best
    assert spectrum.cells[0].value == "–"


def test_missing_value_keeps_its_note(evaluation):
    own = row(compare([evaluation(), evaluation()]), "Kernel distance")
    assert own.cells[0].note == "3 generated volumes; 10 are needed"


def test_letters_at_one_place_stand_on_different_levels(evaluation):
    own = row(compare([evaluation()] * 3), "Distance of the power spectrum")
    assert sorted(mark.level for mark in own.marks) == [0, 1, 2]
    assert len({mark.x for mark in own.marks}) == 1


def test_plots_lay_the_generators_over_the_real_line(evaluation):
    first = compare([evaluation(), evaluation(factor=1.5)]).pictures[0]
    assert [series.key for series in first.series] == ["real-held-out", "column-0", "column-1"]


def test_cautions_about_columns_that_cannot_be_compared(evaluation):
    one = evaluation()
    other = evaluation(
        held_out=one.held_out.model_copy(update={"digest": "sha256:cc"}),
        generated=one.generated.model_copy(update={"box_size_voxel": 32, "counts": {"ribosome": 5}}),
    )
    said = compare([one, other]).cautions
    assert [word in text for word, text in zip(("held-out", "box size", "(40, 5)"), said, strict=True)] == [True] * 3
    assert compare([one, one]).cautions == ()
