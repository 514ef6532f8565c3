"""What the tests of evaluations share."""

import pytest

from frazil.core.files import write_text
from frazil.evaluation import filter as filtering
from frazil.evaluation import run as evaluating


@pytest.fixture
def use_stages(monkeypatch):
    """Return a function that puts other stages in place of the true ones; the report is then a word."""

    def use(stages):
        for module in (evaluating, filtering):
            monkeypatch.setattr(module, "STAGES", stages)
        monkeypatch.setattr(evaluating, "write_report", lambda folder: write_text(folder / "report.html", "report"))
        return stages

    return use


@pytest.fixture
def contents():
    """Return a function that gives the bytes of all files below a folder."""

    def contents(folder):
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not {".written", "frazil.log"} & {*path.parts}
        }

    return contents
