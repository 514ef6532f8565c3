"""Several evaluations side by side."""

from __future__ import annotations

from frazil.evaluation.report.comparison import compare


def row(comparison, title: str):
    return next(own for question in comparison.questions for own in question.together.rows if own.title == title)


def test_best_is_marked_where_intervals_do_not_overlap(evaluation):
    own = row(compare([evaluation(factor=3.0), evaluation()]), "Distance of the power spectrum")
    assert [cell.best for cell in own.cells] == [False, True]
    assert own.undecided == ""


def test_none_is_best_where_intervals_overlap(evaluation):
    two = row(compare([evaluation(factor=1.1), evaluation()]), "Distance of the power spectrum")
    three = row(compare([evaluation(factor=1.1), evaluation(), evaluation(factor=9.0)]), two.title)
    for own, said in ((two, "no clear difference"), (three, "no clear best")):
        assert not any(cell.best for cell in own.cells)
        assert said in own.undecided


def test_without_an_interval_none_is_best(evaluation, score):
    def with_value(value: float):
        return evaluation(scores=(score(value, 0.1),))

    own = row(compare([with_value(0.2), with_value(0.1)]), "Frechet distance")
    assert not any(cell.best for cell in own.cells)
    assert "no interval" in own.undecided


def test_equal_values_have_no_best(evaluation):
    own = row(compare([evaluation(), evaluation()]), "Coverage")
    assert not any(cell.best for cell in own.cells)
    assert own.undecided == "no difference"


def test_rivals_stand_apart_and_none_is_best(evaluation, score):
    def with_rival(value: float):
        pasted = {"name": "gain_copy_paste", "title": "Rival: copy-paste", "question": "useful", "better": "higher"}
        return evaluation(scores=(score(value, 0.5, interval=(value, value), **pasted),))

    useful = compare([with_rival(0.2), with_rival(0.1)]).questions[-1]
    assert useful.together.is_empty
    (own,) = useful.rivals.rows
    assert own.title == "Copy-paste"
    assert not any(cell.best for cell in own.cells)


def test_what_no_generator_has_is_said_in_one_line(evaluation, score):
    few = "9 volumes; 10 are needed"
    scores = (
        *(score(None, None, label=label, note=few) for label in "ab"),
        score(label="c"),
        score(None, None, name="recall", title="Recall", label="a", note=few),
    )
    alone = (score(None, None, label="a", note=few), score(label="b"), score(label="c"))
    by_class = compare([evaluation(scores=scores)] * 2).questions[0].by_class
    assert [own.label for own in by_class.rows] == ["c"]
    assert [one.metrics for one in by_class.unmeasured] == [("Frechet distance (a, b)", "Recall")]
    # what one of them has keeps its row
    by_class = compare([evaluation(scores=scores), evaluation(scores=alone)]).questions[0].by_class
    assert [(own.title, own.label) for own in by_class.rows] == [
        ("Frechet distance", "a"),
        ("Frechet distance", "b"),
        ("Frechet distance", "c"),
        ("Recall", "a"),
    ]


def test_as_real_is_best_closest_to_real_from_either_side(evaluation, score):
    def with_skew(value: float):
        bounds = (value - 0.1, value + 0.1)
        return evaluation(scores=(score(value, -1.5, interval=bounds, name="skew", title="Skew", better="as real"),))

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


def test_cautions_name_what_depends_on_numbers_by_class_and_on_the_seed(evaluation):
    one = evaluation()
    shifted = one.generated.model_copy(update={"counts": {"apo-ferritin": 10, "ribosome": 30}})
    (said,) = compare([one, evaluation(generated=shifted)]).cautions
    assert all(word in said for word in ("Fréchet", "Vendi", "precision", "recall", "(40, 40)"))
    (said,) = compare([one, evaluation(seed=8)]).cautions
    assert "seeds (7, 8)" in said
