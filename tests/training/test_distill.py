"""A student is trained like any other network, and samples in the evaluations that it was taught."""

import numpy as np
import pytest
import torch

from frazil.core.errors import SettingsError
from frazil.core.settings import CurateSettings, SourceSettings
from frazil.dataset.plan import make_plan
from frazil.dataset.run import curate
from frazil.dataset.tomograms.curate import curate_tomograms
from frazil.io.copick.project import write_segmentation
from frazil.io.sources import open_source
from frazil.model.bundle import load_bundle
from frazil.sampling.generator import ParticleGenerator
from frazil.training.run import distill, train

SMALL = {"model.base_channels": 8, "model.embedding_width": 8, "training.epochs": 1, "training.precision": "32-true"}
SHORT = {"training.epochs": 2, "training.precision": "32-true", "training.ema_decay": 0.0}


@pytest.fixture
def teacher(real_boxes, tmp_path):
    train(real_boxes, tmp_path / "teacher", preset="smoke", settings=SMALL, accelerator="cpu")
    return tmp_path / "teacher"


def test_a_student_samples_in_two_evaluations_and_resumes(real_boxes, teacher, tmp_path, capsys):
    distill(teacher, real_boxes, tmp_path / "student", steps=2, settings=SHORT)
    card = load_bundle(tmp_path / "student").card
    assert (card.preset.sampling.sampler, card.preset.sampling.steps) == ("distilled", 2)
    assert "a student of 2 evaluations" in card.provenance
    steps = []
    made = ParticleGenerator.from_bundle(tmp_path / "student").sample(label="ribosome", on_step=steps.append)
    assert len(steps) == 2
    assert np.isfinite(made.volumes).all()
    capsys.readouterr()
    distill(teacher, real_boxes, tmp_path / "student", steps=2, settings=SHORT)
    assert "nothing to do" in capsys.readouterr().out


def test_the_first_loss_is_how_far_the_teachers_one_step_is_from_its_several(real_boxes, teacher, tmp_path):
    still = {**SHORT, "training.learning_rate": 1e-12}
    few = distill(teacher, real_boxes, tmp_path / "few", steps=2, settings=still)
    many = distill(teacher, real_boxes, tmp_path / "many", steps=10, settings=still)
    losses = [load_bundle(run.path).card.losses["train_loss"] for run in (few, many)]
    assert 0 < losses[1] < losses[0] < 0.5


def test_what_cannot_be_distilled_is_refused(real_boxes, teacher, tmp_path, refuses):
    with refuses(SettingsError, "20 steps", "samples in 20", "fewer"):
        distill(teacher, real_boxes, tmp_path / "student", steps=20)
    with refuses(SettingsError, "distill_steps=4", "teacher", "frazil distill"):
        train(real_boxes, tmp_path / "alone", settings={"training.distill_steps": 4})


def test_a_student_of_layouts_is_told_its_teachers_averages(make_layout_bundle, make_project, tmp_path):
    teacher = make_layout_bundle()
    source = open_source(make_project(runs=("TS_1",), shape_voxel=(48, 72, 72)).path, SourceSettings())
    store = curate_tomograms(
        source, make_plan(source, SourceSettings(), CurateSettings(validation_fraction=0)), tmp_path / "store"
    )
    distill(
        teacher,
        store.path,
        tmp_path / "student",
        steps=2,
        settings={**SHORT, "training.epochs": 1, "training.box_size_voxel": 16},
    )
    theirs, ours = (load_bundle(path).network.layout.templates for path in (teacher, tmp_path / "student"))
    assert theirs.any()
    assert torch.equal(ours, theirs)


def test_a_student_needs_no_guidance_by_the_height(make_layout_bundle, make_project, tmp_path):
    source = open_source(make_project(runs=("TS_1",), shape_voxel=(48, 72, 72)).path, SourceSettings())
    plan = make_plan(source, SourceSettings(), CurateSettings(validation_fraction=0))
    store = curate_tomograms(source, plan, tmp_path / "store")
    settings = {**SHORT, "training.epochs": 1, "training.box_size_voxel": 16}
    cards = []
    for name, scale in (("plain", 1.0), ("guided", 4.0)):
        teacher = make_layout_bundle(name=name, height_guidance=scale)
        distill(teacher, store.path, tmp_path / f"of {name}", steps=2, settings=settings)
        cards.append(load_bundle(tmp_path / f"of {name}").card)
    assert cards[0].losses["train_loss"] != cards[1].losses["train_loss"]
    assert cards[1].preset.sampling.height_guidance == 1


def test_a_student_of_layouts_needs_its_teachers_label_maps(make_layout_bundle, make_project, tmp_path, refuses):
    project = make_project(runs=("TS_1",), shape_voxel=(48, 72, 72))
    marked = (project.volumes["TS_1"] < -1).astype(np.uint8)
    write_segmentation(project.path, run="TS_1", volume=marked, voxel_size_angstrom=10.0125, name="dark", user="me")
    options = {"whole": True, "box_size_voxel": 16, "validation_fraction": 0.0}
    plain, marked = (
        curate(project.path, tmp_path / name, maps=maps, **options)
        for name, maps in (("plain", []), ("marked", ["dark"]))
    )
    short = {**SHORT, "training.epochs": 1, "training.box_size_voxel": 16}
    with refuses(SettingsError, "label maps (none)", "teacher's (dark)"):
        distill(make_layout_bundle(maps=("dark",)), plain.path, tmp_path / "student", steps=2, settings=short)
    teacher = train(marked.path, tmp_path / "teacher", start=make_layout_bundle(), settings=short).bundle
    assert load_bundle(teacher).card.maps == ("dark",)
    student = distill(teacher, marked.path, tmp_path / "student", steps=2, settings=short).bundle
    assert load_bundle(student).card.maps == ("dark",)
