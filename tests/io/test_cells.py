import pandas as pd
import pytest

from frazil.core.errors import PickError
from frazil.io.cells import csv_text, without_apostrophes
from frazil.io.tables import read_csv

NAMES = ["=1+2", "+x", "-x", "@x", "'=x", "'plain", "plain", "a=b"]


def test_no_cell_is_a_formula_and_all_come_back(tmp_path):
    table = pd.DataFrame({"name": NAMES, "number": [-1.5] * len(NAMES)})
    text = csv_text(table)
    cells = [line.rpartition(",")[0] for line in text.splitlines()[1:]]
    assert not any(cell.startswith(tuple("=+-@")) for cell in cells)
    assert "-1.5" in text
    (tmp_path / "table.csv").write_text(text)
    assert read_csv(tmp_path / "table.csv", ("name", "number"), PickError).text("name").tolist() == NAMES
    assert without_apostrophes(pd.Series(cells)).tolist() == NAMES


@pytest.mark.parametrize("run", ["=1+2", "-TS"])
def test_a_store_keeps_such_names(make_project, tmp_path, run):
    from frazil.dataset.run import curate

    project = make_project("copick", runs=("TS_1", run))
    store = curate(project.path, tmp_path / "store", preset="smoke", box_size_voxel=8, validation_runs=[run])
    assert set(store.particles["run"]) == {"TS_1", run}
    assert not any(f"\n{number},{run}" in (store.path / "particles.csv").read_text() for number in range(16))
