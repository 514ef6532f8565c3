"""Scores as rows."""

from __future__ import annotations

import pytest

from frazil.evaluation.report.page import glossary
from frazil.evaluation.report.table import tables as tables_of
from frazil.evaluation.report.table import written


@pytest.fixture
def tables(evaluation):
    """Return a function that lays out the scores of one evaluation."""
    return lambda scores: tables_of([evaluation(scores=tuple(scores))])


def test_pooled_metrics_are_rows_and_their_classes_stand_apart(score, tables):
    scores = [score(label=label) for label in (None, "a", "b")] + [score(name="ring_depth", title="Ring", label="a")]
    own = tables(scores)[0]
    assert [row.head for row in own.together.rows] == ["Frechet distance"]
    assert [(group.title, [row.head for row in group.rows]) for group in own.by_class.groups] == [
        ("Frechet distance", ["a", "b"])
    ]
    assert [(group.title, [row.head for row in group.rows]) for group in own.classes_only.groups] == [("Ring", ["a"])]


def test_missing_value_shows_its_note_and_no_number(score, tables):
    row = tables([score(None, None, note="3 volumes; 5 are needed")])[0].together.rows[0]
    text = written(row.first)
    assert (text["value"], text["real"], row.strips) == ("–", "", (None,))
    assert row.note == "3 volumes; 5 are needed"


def test_note_of_all_classes_is_said_once(score, tables):
    scores = [score(label=label, note="bootstrap") for label in "ab"] + [score(None, label="c", note="too few")]
    group = tables(scores)[0].classes_only.groups[0]
    assert group.note == "bootstrap"
    assert [row.note for row in group.rows] == ["", "", "too few"]


def test_what_is_unmeasured_for_the_same_reason_is_said_in_one_line(score, tables):
    few = "9 volumes; 10 are needed"
    scores = [
        score(),
        score(label="a"),
        *(score(None, None, label=label, note=few) for label in "bc"),
        *(score(name="kid", title="KID", label=label) for label in (None, "a")),
        *(score(None, None, name="density", title="Density", label=label, note=few) for label in "abc"),
        score(None, None, name="recall", title="Recall", label="a", note="no features"),
    ]
    own = tables(scores)[0]
    assert [(group.title, [row.head for row in group.rows]) for group in own.by_class.groups] == [
        ("Frechet distance", ["a"]),
        ("KID", ["a"]),
    ]
    assert [(one.metrics, one.note) for one in own.by_class.unmeasured] == [(("Frechet distance (b, c)",), few)]
    # a reason of its own keeps its row
    assert [group.title for group in own.classes_only.groups] == ["Recall"]
    assert [(one.metrics, one.note) for one in own.classes_only.unmeasured] == [(("Density",), few)]


def test_unmeasured_row_beside_a_value_of_real_volumes_stays(score, tables):
    none = "no ring near 5 voxels"
    own = tables([score(None, 4.6, name=name, label="a", note=none) for name in ("voxel", "angstrom")])[0]
    assert [written(row.first)["real"] for group in own.classes_only.groups for row in group.rows] == ["4.60", "4.60"]
    assert own.classes_only.unmeasured == ()


def test_rivals_stand_apart_from_generated_volumes(score, tables):
    arms = {
        "generated_100": "54 real + 100 % generated",
        "copy_paste": "Rival: real + copy-paste",
        "turns": "Rival: real, turned",
    }
    scores = [
        score(0.7, 0.69, name=f"{kind}_{arm}{end}", title=title, question="useful", better="higher")
        for arm, title in arms.items()
        for kind, end in (("augment", "_accuracy"), ("gain", ""))
    ]
    own = tables(scores)[-1]
    assert {row.head for row in own.together.rows} == {"54 real + 100 % generated"}
    assert [row.head for row in own.rivals.rows] == ["Real + copy-paste"] * 2 + ["Real, turned"] * 2


def test_noise_has_no_more_decimals_than_what_it_is_held_against(score, tables):
    row = tables([score(1.92, 1.56, noise=-0.00326)])[0].together.rows[0]
    text = written(row.first)
    assert (text["value"], text["real"], text["noise"]) == ("1.92", "1.56", "0.00")


def test_glossary_explains_what_is_there_and_nothing_else(score):
    titles = [entry["title"] for entry in glossary([score(name="kid_learned"), score(name="spectrum_xy_dex")])]
    assert "Kernel distance (KID)" in titles
    assert "Power spectrum" in titles
    assert "Features" in titles
    assert "Ring score" not in titles
