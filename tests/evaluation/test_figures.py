"""`frazil figures`: what is drawn is what is in the store, the samples and the run, and only what belongs together."""

import json

import numpy as np
import pandas as pd
import pytest

from frazil.cli import main
from frazil.core.errors import CheckpointError, OutputError, RequestError, SourceError
from frazil.core.settings import CurateSettings, SourceSettings
from frazil.dataset.curate import curate_boxes
from frazil.dataset.plan import make_plan
from frazil.dataset.store import BoxStore
from frazil.evaluation import figures as workflow
from frazil.evaluation.figures import figures
from frazil.io.mrc import read_volume
from frazil.io.sources import open_source
from frazil.plots.page import Page
from frazil.sampling.run import sample
from frazil.volume.intensity import z_score


@pytest.fixture
def make_store(make_project, tmp_path):
    """Eight training and eight validation boxes of two classes."""

    def make(*, box=8, name="store", **project):
        source = open_source(make_project("copick", name=f"{name}-project", **project).path, SourceSettings())
        settings = CurateSettings(box_size_voxel=box, validation_runs=("TS_2",))
        return curate_boxes(source, make_plan(source, SourceSettings(), settings), tmp_path / name).path

    return make


@pytest.fixture
def store(make_store):
    return make_store()


@pytest.fixture
def samples(make_bundle, tmp_path):
    """Two samples of every class."""
    sample(make_bundle(), out=tmp_path / "samples", label="all", count=2, device="cpu", steps=1, copick=False)
    return tmp_path / "samples"


@pytest.fixture
def run(make_bundle, tmp_path):
    """What a training run of three epochs leaves."""
    make_bundle(name="run/bundle")
    table = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [0.6, 0.5, 0.4], "validation_loss": [0.6, 0.5, 0.45]})
    table.to_csv(tmp_path / "run" / "metrics.csv", index=False)
    return tmp_path / "run"


@pytest.fixture
def drawn(monkeypatch):
    """Catch what is to be drawn instead of drawing it: rows by class of the class figures and the overview, the captions."""
    caught = {"classes": {}, "overview": {}, "captions": []}

    def class_page(label, rows, *, voxel_size_angstrom, caption):
        assert voxel_size_angstrom == 10.0125
        caught["classes"][label] = rows
        caught["captions"].append(caption)
        return Page.blank(10, 10)

    def overview_page(classes, *, voxel_size_angstrom, caption):
        assert voxel_size_angstrom == 10.0125
        caught["overview"].update(classes)
        caught["captions"].append(caption)
        return Page.blank(10, 10)

    monkeypatch.setattr(workflow, "class_page", class_page)
    monkeypatch.setattr(workflow, "overview_page", overview_page)
    monkeypatch.setattr(workflow, "save_figure", lambda figure, path: (path, path))
    return caught


def test_everything_at_once(store, samples, run, tmp_path, capsys):
    out = tmp_path / "figures"
    written = figures(out, store=store, samples=samples, run=run).images
    names = ["losses", "class-apo-ferritin", "class-ribosome", "overview"]
    assert [path.name for path in written] == [f"{name}.png" for name in names]
    expected = {f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")} | {
        "figures.json",
        ".lock",
        ".written",
        "frazil.log",
    }
    assert {path.name for path in out.iterdir()} == expected
    plan = json.loads((out / "figures.json").read_text())
    assert plan["boxes"] == "real"
    assert plan["store_digest"] == BoxStore.open(store).digest
    assert plan["classes"]["ribosome"]["samples"] == ["volumes/ribosome-00002.mrc", "volumes/ribosome-00003.mrc"]
    assert len(plan["classes"]["ribosome"]["boxes"]) == 5

    before = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".log" and path.is_file()}
    capsys.readouterr()
    figures(out, store=store, samples=samples, run=run)
    assert "all 4 figures already exist; nothing to do" in capsys.readouterr().out
    (out / "overview.pdf").unlink()  # as if interrupted
    figures(out, store=store, samples=samples, run=run)
    assert {
        path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".log" and path.is_file()
    } == before


def test_real_examples_and_samples_are_those_of_the_files(store, samples, drawn, tmp_path):
    figures(tmp_path / "figures", store=store, samples=samples)
    boxes = BoxStore.open(store)
    plan = json.loads((tmp_path / "figures" / "figures.json").read_text())
    for label, (real, made) in drawn["classes"].items():
        assert (real.kind, made.kind) == ("Real", "Generated")
        chosen = [row["box"] for row in plan["classes"][label]["boxes"]]
        assert (boxes.particles["label"].iloc[chosen] == label).all()
        # z-scored as for the network that made the samples: over the measured voxels
        expected = [z_score(boxes.volume(b), boxes.moments(b, "measured"), boxes.measured(b)) for b in chosen]
        np.testing.assert_array_equal(real.volumes, expected)
        files = plan["classes"][label]["samples"]
        np.testing.assert_array_equal(made.volumes, [read_volume(samples / file) for file in files])
    assert drawn["classes"]["ribosome"][1].names == ["sample 2", "sample 3"]


def test_whole_boxes_come_first_then_validation_boxes(store, drawn, tmp_path):
    figures(tmp_path / "figures", store=store, examples=8)
    plan = json.loads((tmp_path / "figures" / "figures.json").read_text())
    particles = BoxStore.open(store).particles
    assert (particles["padding"] > 0).any()
    for label, rows in drawn["classes"].items():
        chosen = particles.iloc[[row["box"] for row in plan["classes"][label]["boxes"]]]
        assert len(chosen) == 8
        ranks = list(zip(np.ceil(chosen["padding"] * 10), chosen["split"] == "train", strict=True))
        assert ranks == sorted(ranks)
        assert rows[0].note == "validation and training split"
        expected = [f"{run} box {box}" for run, box in zip(chosen["run"], chosen["box"], strict=True)]
        assert list(rows[0].names) == expected


def test_captions_tell_what_the_reader_must_know(store, samples, drawn, tmp_path):
    figures(tmp_path / "figures", store=store, samples=samples)
    caption = drawn["captions"][0].replace("\u00a0", " ")
    assert "boxes of 8³ voxels, 10.012 Å each (8.0 nm)" in caption or "10.013 Å each (8.0 nm)" in caption
    assert "Real boxes: drawn at random from store" in caption
    assert "ddpm, 1 steps, seed 0" in caption
    assert "trained on other boxes than these" in caption


def test_simulated_boxes_are_never_called_real(store, drawn, tmp_path, monkeypatch):
    opened = BoxStore.open(store)
    opened.description = opened.description.model_copy(update={"simulated": True})
    monkeypatch.setattr(BoxStore, "open", lambda path: opened)
    figures(tmp_path / "figures", store=store)
    assert {row.kind for rows in drawn["classes"].values() for row in rows} == {"Simulated"}
    assert all("Simulated boxes" in caption and "Real" not in caption for caption in drawn["captions"])


def test_samples_alone(samples, drawn, tmp_path):
    names = ["class-apo-ferritin.png", "class-ribosome.png", "overview.png"]
    assert [path.name for path in figures(tmp_path / "figures", samples=samples).images] == names
    assert [row.kind for row in drawn["classes"]["ribosome"]] == ["Generated"]


def test_other_inputs_are_refused_and_replace_with_force(run, tmp_path, refuses):
    out = tmp_path / "figures"
    assert figures(out, run=run).images == (out / "losses.png",)
    before = (out / "losses.png").read_bytes()
    (out / "mine.txt").write_text("")
    table = pd.read_csv(run / "metrics.csv")
    table["train_loss"] *= 2
    table.to_csv(run / "metrics.csv", index=False)
    with refuses(OutputError, str(out), "metrics_digest", "--force"):
        figures(out, run=run)
    assert (out / "losses.png").read_bytes() == before
    figures(out, run=run, force=True)
    assert (out / "losses.png").read_bytes() != before
    assert (out / "mine.txt").exists()


def test_nothing_to_draw_is_refused(tmp_path, store, refuses):
    with refuses(RequestError, "nothing to draw", "a store, samples or a run"):
        figures(tmp_path / "figures")
    with refuses(RequestError, "examples 0", "at least 1"):
        figures(tmp_path / "figures", store=store, examples=0)
    assert not (tmp_path / "figures").exists()


def test_parts_that_do_not_belong_together_are_refused(make_store, make_bundle, samples, run, tmp_path, refuses):
    with refuses(RequestError, str(samples), "8 voxels", "16", "belongs together"):
        figures(tmp_path / "figures", store=make_store(box=16, name="large"), samples=samples)
    with refuses(RequestError, str(samples), "10.0125 A", "20 A", "belongs together"):
        figures(tmp_path / "figures", store=make_store(voxel_size_angstrom=20.0, name="coarse"), samples=samples)
    make_bundle(name="run/bundle", labels=("spike", "tric"))
    with refuses(RequestError, str(run), "spike, tric", "apo-ferritin, ribosome", "belongs together"):
        figures(tmp_path / "figures", samples=samples, run=run)
    assert not (tmp_path / "figures").exists()


def test_folders_that_are_something_else_are_refused(tmp_path, store, refuses):
    with refuses(SourceError, str(store / "manifest.json"), "no such file"):
        figures(tmp_path / "figures", samples=store)
    with refuses(CheckpointError, str(store / "metrics.csv"), "no such file"):
        figures(tmp_path / "figures", run=store)


def test_the_overview_shows_few_real_examples_beside_samples(store, samples, drawn, tmp_path):
    figures(tmp_path / "a", store=store, samples=samples)
    assert [(row.kind, len(row.volumes)) for row in drawn["overview"]["ribosome"]] == [("Real", 3), ("Generated", 2)]
    figures(tmp_path / "b", store=store)
    assert [(row.kind, len(row.volumes)) for row in drawn["overview"]["ribosome"]] == [("Real", 5)]


def test_the_command_line_draws(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "figures"
    monkeypatch.setattr("sys.argv", ["frazil", "figures", "--run", str(run), "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert capsys.readouterr().out.split() == [str(out / "losses.png"), "and", ".pdf"]
    assert (out / "losses.pdf").exists()
