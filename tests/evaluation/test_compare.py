"""`frazil evaluate --compare`: the same scores side by side, and a word where they cannot be compared."""

import csv
import io
import json

import pytest

from frazil.core.errors import OutputError, RequestError, SourceError
from frazil.evaluation import compare as workflow
from frazil.evaluation.compare import cautions, compare
from frazil.evaluation.scores import Evaluation, Score, SetDescription, Verdict


@pytest.fixture
def finished(tmp_path):
    """Return a function that writes a finished evaluation."""

    def finished(folder, value, *, name="made", digest="sha256:1", count=60, seed=0, extra=()):
        described = SetDescription(
            path="p",
            kind="box store",
            digest=digest,
            voxel_size_angstrom=10.0,
            box_size_voxel=8,
            counts={"ribosome": count},
        )
        evaluation = Evaluation(
            name=name, generated=described, held_out=described, training=described, seed=seed,
            verdicts=(Verdict(question="realistic", answer="partly", sentence="s"),),
            scores=(
                Score(name="kid", title="Kernel distance", question="realistic", value=value, real=0.001, better="lower"),
                Score(name="kid", title="Kernel distance", question="realistic", label="ribosome", value=9.0, better="lower"),
                *extra,
            ),
            plots=(),
        )  # fmt: skip
        (tmp_path / folder).mkdir()
        evaluation.write(tmp_path / folder / "metrics.json")
        return tmp_path / folder

    return finished


@pytest.fixture(autouse=True)
def no_html(monkeypatch):
    monkeypatch.setattr(workflow, "write_comparison", lambda path, evaluations, cautions: path.write_text("html"))


def test_scores_stand_side_by_side(finished, tmp_path, capsys):
    extra = (Score(name="ring", title="Ring", question="realistic", value=None, better="as real"),)
    compare([finished("a", 0.123, name="A"), finished("b", 0.456, name="B", extra=extra)], tmp_path / "out")
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("↓ kid")]
    assert line.split() == ["↓", "kid", "0.123", "0.456", "0.001"]
    assert [line.split()[:4] for line in out.splitlines() if line.startswith("= ring")] == [["=", "ring", "–", "–"]]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "comparison.csv").read_text())))
    assert [(row["generator"], row["name"], row["label"], row["value"]) for row in rows[:2]] == [
        ("A", "kid", "", "0.123"), ("A", "kid", "ribosome", "9.0")
    ]  # fmt: skip
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [one["name"] for one in content["evaluations"]] == ["A", "B"]
    assert (tmp_path / "out" / "comparison.html").exists()


def test_generators_of_one_name_are_numbered(finished):
    found = compare([finished("a", 1.0), finished("b", 2.0), finished("c", 3.0)])
    assert [one.name for one in found.evaluations] == ["made", "made (2)", "made (3)"]


def test_a_notebook_shows_the_table(finished):
    shown = compare([finished("a", 0.123, name="<A>"), finished("b", 0.456, seed=4)])._repr_html_()
    assert "&lt;A&gt;" in shown
    assert "<td>0.123</td>" in shown
    assert "different seeds (&lt;A&gt; 0, made 4)" in shown


def test_cautions_name_what_cannot_be_compared_and_by_how_much(finished, tmp_path, capsys):
    folders = [finished("a", 1.0, name="A"), finished("b", 1.0, name="B", digest="sha256:2", count=9, seed=4)]
    found = compare(folders, tmp_path / "out")
    held_out, counts, seeds = found.cautions
    assert "different held-out boxes" in held_out
    assert "(A 60, B 9)" in counts
    assert "(A 0, B 4)" in seeds
    assert "different held-out boxes" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["notes"] == list(found.cautions)


def test_cautions_about_boxes_and_classes(finished):
    one = compare([finished("a", 1.0), finished("b", 1.0)]).evaluations[0]
    assert cautions([one, one]) == []
    larger = one.model_copy(update={"generated": one.generated.model_copy(update={"box_size_voxel": 32})})
    (caution,) = cautions([one, larger])
    assert "(made 8, made 32)" in caution
    shifted = one.generated.model_copy(update={"counts": {"apo-ferritin": 10, "ribosome": 50}})
    (caution,) = cautions([one, one.model_copy(update={"generated": shifted})])
    assert all(word in caution for word in ("Fréchet", "Vendi", "precision", "recall", "(made 60, made 60)"))


def test_the_same_comparison_is_not_written_twice_and_another_not_over_it(finished, tmp_path, capsys, refuses):
    a, b, c = finished("a", 1.0), finished("b", 2.0), finished("c", 3.0)
    compare([a, b], tmp_path / "out")
    compare([a, b], tmp_path / "out")
    assert "nothing to do" in capsys.readouterr().out
    with refuses(OutputError, str(tmp_path / "out"), "another request", "--force"):
        compare([a, c], tmp_path / "out")
    compare([a, c], tmp_path / "out", force=True)
    (tmp_path / "out" / "comparison.json").write_text('{"kind": "mine"}')
    with refuses(OutputError, "comparison.json", "frazil evaluate --compare"):
        compare([a, c], tmp_path / "out", force=True)


def test_one_evaluation_and_none_are_refused(finished, tmp_path, refuses):
    with refuses(RequestError, "compare: 1 evaluation", "two or more"):
        compare([finished("a", 1.0)])
    with refuses(SourceError, "metrics.json", "no such file"):
        compare([tmp_path / "a", tmp_path / "b"])


def test_the_command_line(run, finished, tmp_path):
    code, out, _ = run(
        "evaluate", "--compare", finished("a", 0.5, name="A"), finished("b", 0.7, name="B"), "--out", tmp_path / "o"
    )
    assert (code, "comparison.html" in out) == (0, True)
    code, out, _ = run("evaluate", "--compare", tmp_path / "a", tmp_path / "b")
    assert (code, "0.7" in out, "comparison.html" in out) == (0, True, False)
