"""The model that frazil brings along: whole, small, honest about where it comes from, and rings are rings."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import frazil
from frazil.cli import main
from frazil.model.bundle import (
    CARD_FILE,
    PRETRAINED,
    PRETRAINED_BOXES,
    PRETRAINED_TEACHER,
    WEIGHTS_FILE,
    bundle_folder,
    load_bundle,
)

CZII = ("apo-ferritin", "beta-amylase", "beta-galactosidase", "ribosome", "thyroglobulin", "virus-like-particle")


@pytest.fixture(scope="module")
def generator():
    return frazil.load(device="cpu")


def profile(volumes):
    """Return the mean gray value by distance from voxel D/2 in the central XY slice."""
    edge = volumes.shape[1]
    y, x = np.indices((edge, edge)) - edge // 2
    ring = np.hypot(y, x).round().astype(int)
    picture = volumes[:, edge // 2].mean(axis=0)
    return np.array([picture[ring == radius].mean() for radius in range(edge // 2)])


@pytest.mark.parametrize("name", [PRETRAINED, PRETRAINED_TEACHER, PRETRAINED_BOXES])
def test_it_is_small_and_knows_what_it_is(name):
    folder = bundle_folder(Path(name))
    assert sum((folder / file).stat().st_size for file in (CARD_FILE, WEIGHTS_FILE)) < 12e6
    bundle = load_bundle(name)
    assert bundle.card.labels == CZII
    assert bundle.card.voxel_size_angstrom == pytest.approx(10.012444)
    assert bundle.card.box_size_voxel == 64
    assert "simulated" in bundle.card.provenance
    assert set(bundle.card.radius_angstrom) == set(CZII)
    assert (bundle.card.layouts is None) == (name == PRETRAINED_BOXES)
    card = (folder.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert bundle.digest in card
    for part in ("simulated", "License", "Known failures"):
        assert part in card


def test_the_student_is_of_the_teacher_that_is_shipped():
    student, teacher = load_bundle(PRETRAINED), load_bundle(PRETRAINED_TEACHER)
    assert student.card.base_digest == teacher.digest
    assert (student.card.preset.sampling.sampler, student.card.preset.sampling.steps) == ("distilled", 4)
    assert (teacher.card.preset.sampling.sampler, teacher.card.preset.sampling.steps) == ("dpm++", 12)


def test_nothing_of_the_machine_that_trained_it_is_in_it():
    text = (bundle_folder(Path(PRETRAINED)) / CARD_FILE).read_text(encoding="utf-8")
    assert "/tmp" not in text
    assert "/work" not in text


@pytest.mark.parametrize(("label", "radius"), [("apo-ferritin", (4, 7)), ("virus-like-particle", (10, 13))])
def test_shells_are_rings_of_the_right_size(generator, label, radius):
    """SCIENCE: in XY apo-ferritin is a ring of about 6 voxels radius, the virus-like particle one of 11.5 to 12."""
    found = profile(generator.sample(label=label, count=4, seed=0).volumes)
    darkest = int(found.argmin())
    assert radius[0] <= darkest <= radius[1]
    assert found[0] > found[darkest] + 0.5  # bright within
    assert found[darkest + 5] > found[darkest] + 0.5  # and without


def test_the_ribosome_is_the_dense_large_body(generator):
    found = profile(generator.sample(label="ribosome", count=4, seed=0).volumes)
    assert (found[:9] < -0.5).all()
    assert found[20:].mean() > found[:9].mean() + 1


def test_sampling_without_a_bundle_says_that_it_learnt_from_simulation(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["frazil", "sample", "--label", "apo-ferritin", "--out", str(tmp_path / "out"), "--steps", "2"]
    )
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    said = capsys.readouterr()
    assert "pretrained: learnt from simulated" in said.out.replace("\n", " ")
    assert "distilled, 2 steps: the bundle is a student" in said.err.replace("\n", " ")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["bundle"] == "simulated-czii-layouts-quick"
    assert "simulated" in manifest["provenance"]


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / PRETRAINED).mkdir()
    assert str(bundle_folder(Path(PRETRAINED))) == PRETRAINED
