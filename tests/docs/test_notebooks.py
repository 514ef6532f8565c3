"""Every notebook of the documentation runs on small data: in this process, because starting a Jupyter kernel takes longer than the work."""

import ast
import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def cells(request):
    notebook = json.loads(request.param.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run_and_show(source, names):
    """Run a cell as Jupyter does: the value of its last expression is shown."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        getattr(value, "_repr_html_", value.__repr__)()


def test_runs(cells, tmp_path, monkeypatch):
    monkeypatch.setenv("FRAZIL_SMALL", "1")
    monkeypatch.chdir(tmp_path)
    names = {}
    for cell in cells:
        run_and_show("".join(cell["source"]), names)
    plt.close("all")


def test_holds_no_outputs(cells):
    assert cells
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
