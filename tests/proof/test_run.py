"""A proof, end to end on tomograms with dark balls: what is found, what is refused, what is done again."""

import json
import shutil

import numpy as np
import pytest

from frazil.core.errors import PickError, SettingsError, SourceError
from frazil.core.settings import SourceSettings
from frazil.dataset.tomograms.description import voxels_digest
from frazil.io.pick_tables import read_pick_table
from frazil.io.sources import open_source
from frazil.proof.records import Proof
from frazil.proof.run import prove
from frazil.simulation.preset import load_simulation_preset
from frazil.simulation.run import simulate

SHAPE = {"shape_voxel": (32, 48, 48), "picks_per_label": 5}


@pytest.fixture
def project(make_project):
    return make_project(runs=("TS_1", "TS_2", "TS_3"), **SHAPE)


@pytest.fixture
def made(make_project):
    return make_project(runs=("M_1",), seed=7, name="made", **SHAPE)


def test_a_picker_finds_dark_balls_and_what_is_there_is_not_trained_again(project, tmp_path, monkeypatch):
    asked = {"train": ["TS_1"], "test": ["TS_2"], "pick": ["TS_3"], "steps": 60, "weights": {"apo-ferritin": 0}}
    asked |= {"out": tmp_path / "proof", "arms": ["augmented"]}
    proof = prove(project.path, seeds=1, **asked)
    (arm,) = proof.arms
    assert arm.classes["ribosome"].recall > 0.6
    assert arm.f_beta.mean == pytest.approx(arm.classes["ribosome"].f_beta)
    assert arm.f_beta.mean == pytest.approx(arm.by_seed[0])
    assert arm.ceiling >= arm.f_beta.mean - 1e-9

    picks = read_pick_table(tmp_path / "proof" / "trials" / "augmented-0" / "picks.csv")
    assert {some.tomogram for some in picks} <= {"TS_2", "TS_3"}
    wanted = next(some for some in project.picks if some.run == "TS_3" and some.label == "ribosome").centers_angstrom
    found = next(some for some in picks if some.tomogram == "TS_3" and some.label == "ribosome")
    assert found.unit == "angstrom"
    best = found.places[np.argsort(-found.scores)[:5]]
    near = np.linalg.norm(wanted[:, None] - best[None], axis=-1).min(axis=1) < 30
    assert near.mean() > 0.5

    trained = []
    monkeypatch.setattr(
        "frazil.proof.trial.TrialWork.__call__", lambda self, item: trained.append((item[0].name, item[1]))
    )
    assert prove(project.path, seeds=1, **asked) == proof
    assert not trained
    with pytest.raises(AssertionError):  # its trial is not written
        prove(project.path, seeds=2, **asked)
    assert trained == [("augmented", 1)]

    request = tmp_path / "proof" / "request.json"
    request.write_text(request.read_text().replace('"learning_rate": 0.003', '"learning_rate": 0.001'))
    assert '"learning_rate": 0.001' in request.read_text()
    shutil.rmtree(tmp_path / "proof" / ".written")  # an older frazil wrote that
    assert prove(project.path, seeds=1, **asked) == proof
    monkeypatch.setattr("frazil.proof.trial._METHOD", 0)
    with pytest.raises(AssertionError):
        prove(project.path, seeds=1, **asked)
    assert trained[1:] == [("augmented", 0)]


def test_every_arm_is_on_the_page(project, made, tmp_path):
    out = tmp_path / "proof"
    asked = {"train": ["TS_1"], "test": ["TS_2", "TS_3"], "projects": [made.path], "out": out, "steps": 1}
    proof = prove(project.path, seeds=2, mixtures=[1], workers=2, **asked)
    assert [arm.name for arm in proof.arms] == [
        "annotated",
        "augmented",
        "copy-paste",
        "made 1:1",
        "made and copy-paste",
        "made alone",
    ]
    assert [arm.gain is None for arm in proof.arms] == [arm.name == proof.best_cheap for arm in proof.arms]
    assert Proof.read(out / "proof.json", SourceError) == proof
    page = (out / "report.html").read_text()
    assert all(arm.name in page for arm in proof.arms)
    assert "http" not in page.replace("http-equiv", "")


def test_a_tomogram_that_was_trained_on_is_no_test(project, made, make_project, tmp_path, refuses):
    twin = project.path / "ExperimentRuns"
    shutil.copytree(twin / "TS_1", twin / "TS_9")
    with refuses(PickError, "TS_1 and TS_9", "one tomogram"):
        prove(project.path, train=["TS_1"], test=["TS_9"], out=tmp_path / "a", steps=1, seeds=1)
    like = make_project(runs=("TS_2",), name="like", **SHAPE)
    with refuses(PickError, "like", "TS_2", "training runs"):
        prove(project.path, train=["TS_1"], test=["TS_2"], projects=[like.path], out=tmp_path / "b", steps=1, seeds=1)


@pytest.mark.parametrize("contrast", ["dark", "bright"])
def test_a_bundle_that_has_learned_from_a_test_tomogram_is_refused(
    contrast, project, make_layout_bundle, tmp_path, refuses
):
    from frazil.composition.run import compose

    seen = voxels_digest(open_source(project.path, SourceSettings(contrast=contrast)).read("TS_2"))
    composed = tmp_path / "composed"
    compose(make_layout_bundle(tomograms_seen=(seen,)), out=composed, shape=(32, 48, 48))
    with refuses(PickError, "composed", "has learned from test run TS_2", "make it without"):
        prove(project.path, train=["TS_1"], test=["TS_2"], projects=[composed], out=tmp_path / "a", steps=1, seeds=1)
    proof = prove(
        project.path, train=["TS_1"], test=["TS_3"], projects=[composed], arms=["composed alone"], out=tmp_path / "b",
        steps=1, seeds=1,
    )  # fmt: skip
    assert any("no test tomogram is among the 1" in line for line in proof.leaks_checked)
    assert json.loads((composed / "composition.json").read_text())["tomograms_seen"] == [seen]


def test_a_preset_that_was_calibrated_on_a_test_tomogram_is_refused(project, tmp_path, refuses):
    seen = voxels_digest(open_source(project.path, SourceSettings()).read("TS_2"))
    fields = {"calibrated_on": {seen: 10.012}, "name": "ours"}
    specimen = {
        "shape_voxel": (48, 48, 48),
        "voxel_size_angstrom": 10.012,
        "particles_per_class": "apo-ferritin=2,ribosome=1",
    }
    settings = {f"specimen.{key}": value for key, value in specimen.items()}
    preset = load_simulation_preset("small", settings).model_copy(update=fields)
    simulate(tmp_path / "simulated", preset=preset, levels=1)
    asked = {"projects": [tmp_path / "simulated"], "steps": 1, "seeds": 1, "arms": ["simulated alone"]}
    with refuses(PickError, "its preset ours was calibrated on test run TS_2", "make it without"):
        prove(project.path, train=["TS_1"], test=["TS_2"], out=tmp_path / "a", **asked)
    proof = prove(project.path, train=["TS_1"], test=["TS_3"], out=tmp_path / "b", **asked)
    assert any("among the 1 that its preset ours was calibrated on" in line for line in proof.leaks_checked)


def test_what_cannot_be_compared_is_refused(project, made, make_project, tmp_path, refuses):
    asked = {"out": tmp_path / "proof", "steps": 1, "seeds": 1}
    with refuses(PickError, "test run TS_8", "TS_1, TS_2, TS_3"):
        prove(project.path, train=["TS_1"], test=["TS_8"], **asked)
    with refuses(SettingsError, "TS_1", "training run too"):
        prove(project.path, train=["TS_1"], test=["TS_1"], **asked)
    with refuses(SettingsError, "test", "name at least one"):
        prove(project.path, train=["TS_1"], **asked)
    with refuses(SettingsError, "arm best", "copy-paste"):
        prove(project.path, train=["TS_1"], test=["TS_2"], arms=["best"], **asked)
    with refuses(SettingsError, "weight of virus", "apo-ferritin, ribosome"):
        prove(project.path, train=["TS_1"], test=["TS_2"], weights={"virus": 1}, **asked)
    coarse = make_project(runs=("C_1",), name="coarse", voxel_size_angstrom=20.0, **SHAPE)
    with refuses(SourceError, "coarse", "20.00 A", "10.01 A"):
        prove(project.path, train=["TS_1"], test=["TS_2"], projects=[coarse.path], **asked)
    shutil.rmtree(made.path / "ExperimentRuns" / "M_1" / "Picks")
    with refuses(PickError, "made", "no picks"):
        prove(project.path, train=["TS_1"], test=["TS_2"], projects=[made.path], **asked)
    assert not (tmp_path / "proof").exists()
