"""Scores as rows."""

from __future__ import annotations

from frazil.reporting.evaluation_glossary import entries
from frazil.reporting.evaluation_table import tables
from frazil.scores import QUESTIONS


def test_every_question_has_its_place_even_without_scores(score):
    assert [own.question for own in tables([score()])] == list(QUESTIONS)


def test_pooled_metrics_are_rows_and_their_classes_stand_apart(score):
    scores = [score(label=label) for label in (None, "a", "b")] + [score(name="ring_depth", title="Ring", label="a")]
    own = tables(scores)[0]
    assert [row.head for row in own.rows] == ["Frechet distance"]
    assert [(group.title, [row.head for row in group.rows]) for group in own.by_class] == [
        ("Frechet distance", ["a", "b"])
    ]
    assert [(group.title, [row.head for row in group.rows]) for group in own.groups] == [("Ring", ["a"])]


def test_missing_value_shows_its_note_and_no_number(score):
    row = tables([score(None, None, note="3 volumes; 5 are needed")])[0].rows[0]
    assert not row.measured
    assert (row.value, row.real, row.strip) == ("–", "", None)
    assert row.note == "3 volumes; 5 are needed"


def test_note_of_all_classes_is_said_once(score):
    scores = [score(label=label, note="bootstrap") for label in "ab"] + [score(None, label="c", note="too few")]
    group = tables(scores)[0].groups[0]
    assert group.note == "bootstrap"
    assert [row.note for row in group.rows] == ["", "", "too few"]


def test_noise_has_no_more_decimals_than_what_it_is_held_against(score):
    row = tables([score(1.92, 1.56, noise=-0.00326)])[0].rows[0]
    assert (row.value, row.real, row.noise) == ("1.92", "1.56", "0.00")


def test_glossary_explains_what_is_there_and_nothing_else(score):
    titles = [entry.title for entry in entries([score(name="kid_learned"), score(name="spectrum_xy_dex")])]
    assert "Kernel distance (KID)" in titles
    assert "Power spectrum" in titles
    assert "Features" in titles
    assert "Ring score" not in titles
