"""`frazil report`: the page is rewritten from what the evaluation left."""

import pytest

from frazil.core.errors import SourceError
from frazil.evaluation.examples import read_examples
from frazil.evaluation.records import read_evaluation
from frazil.evaluation.report import run as workflow
from frazil.evaluation.report.run import report
from frazil.evaluation.run import evaluate


@pytest.fixture
def drawn(monkeypatch):
    """Catch what is written into the page."""
    caught = []

    def write_report(path, evaluation, examples):
        caught.append((evaluation, examples))
        path.write_text("page")

    monkeypatch.setattr(workflow, "write_report", write_report)
    return caught


def test_the_page_is_made_from_metrics_and_examples(drawn, real_boxes, make_volumes, tmp_path, run, use_stages):
    out = tmp_path / "out"
    use_stages({})
    evaluate(real_boxes, make_volumes(), out, report=False)
    assert not drawn
    assert report(out) == out / "report.html"
    assert (out / "report.html").read_text() == "page"
    evaluation, examples = drawn[0]
    assert evaluation == read_evaluation(out)
    assert examples.generated.names == read_examples(out / "examples.npz").generated.names
    code, text, _ = run("report", out)
    assert (code, str(out / "report.html") in text) == (0, True)


def test_a_folder_without_an_evaluation_is_refused(tmp_path, refuses):
    with refuses(SourceError, "metrics.json", "no such file"):
        report(tmp_path)
