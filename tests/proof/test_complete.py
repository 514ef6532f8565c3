"""Completing picks: what a list lacks is added once, what it has is not doubled, and nothing is called an annotation."""

import json

import numpy as np
import pandas as pd
import pytest

import frazil
from frazil.core.errors import OutputError, PickError, SettingsError
from frazil.core.settings import SourceSettings
from frazil.io.sources import open_source


def grid(count, offset):
    at = [(z, y, x) for z in (60.0, 240.0) for y in (60.0, 240.0, 420.0) for x in 60.0 + 180 * np.arange(5)]
    return np.array(at[offset::2][:count])


@pytest.fixture
def project(make_project, monkeypatch):
    """Ribosomes and apo-ferritins on a grid, of which every third ribosome is in no list; a picker that sees them all."""
    made = make_project(runs=("TS_1", "TS_2"), shape_voxel=(32, 48, 96), picks_per_label=15)
    places = {"ribosome": grid(15, 0), "apo-ferritin": grid(15, 1)}
    for file in sorted(made.path.rglob("Picks/*.json")):
        label = "ribosome" if "ribosome" in file.name else "apo-ferritin"
        content = json.loads(file.read_text())
        kept = [at for number, at in enumerate(places[label]) if label != "ribosome" or number % 3]
        content["points"] = [
            point | {"location": dict(zip("zyx", at, strict=True))}
            for point, at in zip(content["points"], kept, strict=False)
        ]
        file.write_text(json.dumps(content))

    def everything(_, __, run):
        sure = np.linspace(0.9, 0.6, 15)
        sure[12] = 0.3
        doubtful = np.array([[150.0, 150.0, 150.0]])  # an artifact that looks a little like both
        twice = places["ribosome"][:1] + 20
        return {
            "ribosome": (np.concatenate([places["ribosome"], doubtful, twice]), np.array([*sure, 0.1, 0.85])),
            "apo-ferritin": (np.concatenate([places["apo-ferritin"], doubtful]), np.array([*sure, 0.2])),
        }

    monkeypatch.setattr("frazil.proof.complete.found_in", everything)
    return made.path, places["ribosome"][::3]


def test_what_a_list_lacks_is_added_once_and_curated_beside_it(project, tmp_path):
    path, lost = project
    found = frazil.complete(path, tmp_path / "more", steps=1, sure=0.9)
    for run in ("TS_1", "TS_2"):
        rows = found[found["run_name"] == run]
        assert set(rows["particle_type"]) == {"ribosome"}
        places = sorted(map(tuple, rows[["z", "y", "x"]].to_numpy()))
        assert places == sorted(map(tuple, lost[:-1]))  # the last, of 0.3, is less sure than the annotated ones

    table = tmp_path / "more" / "found.csv"
    assert len(pd.read_csv(table)) == len(found)
    settings = SourceSettings(more_picks_file=str(table))
    own = sum(map(len, open_source(path, SourceSettings()).picks()))
    assert sum(map(len, open_source(path, settings).picks())) == own + len(found)
    others = settings.model_copy(update={"labels": ("apo-ferritin",)})
    assert sum(map(len, open_source(path, others).picks())) == 30
    store = frazil.curate(path, tmp_path / "store", whole=True, select=settings)
    assert len(store.particles) == own + len(found)

    before = table.read_bytes()
    assert frazil.complete(path, tmp_path / "more", steps=1, sure=0.9).equals(found)
    assert table.read_bytes() == before
    with pytest.raises(PickError, match=r"found.csv: has picks in test run TS_2.* complete the training runs alone"):
        frazil.prove(path, train=["TS_1"], test=["TS_2"], out=tmp_path / "proof", source=settings)


def test_other_picks_are_another_request(project, tmp_path):
    path, _ = project
    frazil.complete(path, tmp_path / "more", steps=1)
    file = next(path.rglob("Picks/*ribosome.json"))
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"points": content["points"][1:]}))
    with pytest.raises(OutputError, match=r"another request \(other picks or tomograms\)"):
        frazil.complete(path, tmp_path / "more", steps=1)
    frazil.complete(path, tmp_path / "more", steps=1, force=True)


def test_each_half_is_picked_by_who_has_not_seen_it(project, tmp_path, monkeypatch):
    seen = []

    def trained(examples, *_, **__):
        seen.append([windows._regions for windows in examples._windows])

    monkeypatch.setattr("frazil.proof.complete.train_picker", trained)
    frazil.complete(project[0], tmp_path / "more", runs=["TS_1"], steps=1)
    assert seen == [[[((0, 0, 0), (32, 48, 48))]], [[((0, 0, 48), (32, 48, 96))]]]
    for half in (0, 1):
        x = pd.read_csv(tmp_path / "more" / f"half-{half}.csv")["x"] / 10.0125
        assert ((x < 47.5) if half else (x >= 47.5)).all()


def test_what_cannot_be_is_refused(project, tmp_path, refuses):
    path, _ = project
    with refuses(SettingsError, "run TS_9", "TS_1"):
        frazil.complete(path, tmp_path / "a", runs=["TS_9"])
    with refuses(SettingsError, "sure 1.5", "between 0 and 1"):
        frazil.complete(path, tmp_path / "a", sure=1.5)
    table = tmp_path / "more.csv"
    table.write_text("run_name,particle_type,x,y,z\nTS_7,ribosome,1,2,3\n")
    with refuses(PickError, "more.csv", "no run TS_7", "TS_1"):
        open_source(path, SourceSettings(more_picks_file=str(table))).picks()
