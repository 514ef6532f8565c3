"""`frazil train`: what it writes, refuses and resumes, and that two processes train as one does."""

import ctypes
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from frazil.core.errors import OutputError, SettingsError, ShapeError
from frazil.dataset.store import BoxStore
from frazil.model.bundle import load_bundle
from frazil.model.compute import Compute
from frazil.training import plan
from frazil.training.batches import TrainingBatches
from frazil.training.folder import RunRecord, await_record, run_folder
from frazil.training.run import train

TINY = {
    "training.epochs": 2,
    "training.batch_size": 4,
    "model.base_channels": 8,
    "model.embedding_width": 8,
    "diffusion.timesteps": 20,
}


@pytest.fixture
def store(real_boxes):
    """Eight training and eight validation boxes of 8^3 voxels."""
    return real_boxes


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


def tiny(store, out, *, force=False, **settings):
    """Train with ``training__epochs=3`` and the like."""
    settings = {key.replace("__", "."): value for key, value in settings.items()}
    return train(store, out, preset="smoke", settings=TINY | settings, accelerator="cpu", force=force)


def weights(bundle):
    return load_bundle(bundle).network.state_dict()


def assert_same_weights(one, other):
    assert all(torch.equal(weights(other)[name], tensor) for name, tensor in weights(one).items())


def test_a_run_writes_all_it_promises_and_a_second_call_does_nothing(store, out, capsys):
    run = tiny(store, out)
    said = capsys.readouterr().out
    assert "8 training and 8 validation boxes of 8^3 voxels at 10.012 A, 2 classes" in said
    assert "epoch 2/2: train" in said
    assert {path.name for path in out.iterdir()} >= {"run.json", "metrics.csv", "tensorboard", "losses.png", "bundle"}

    card = load_bundle(run.bundle).card
    assert card.labels == ("apo-ferritin", "ribosome")
    assert card.voxel_size_angstrom == pytest.approx(10.0125)
    assert (card.box_size_voxel, card.tilt_range_degrees) == (8, (-48.0, 45.0))
    assert card.training_data_digest == BoxStore.open(store).digest
    assert card.radius_angstrom == {"apo-ferritin": 30.0, "ribosome": 60.0}
    assert card.losses["epochs"] == 2
    assert card.losses["validation_loss"] == pytest.approx(run.losses["validation_loss"].iloc[-1])
    best = load_bundle(run.best_bundle).card.losses
    assert best["validation_loss"] == pytest.approx(run.losses["validation_loss"].min())

    before = {
        path: path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name not in ("run.json", "files.jsonl", "frazil.log")
    }
    assert tiny(store, out) == run
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before


def test_out_of_time_in_the_first_epoch_it_names_the_bundle_that_there_is(store, out, monkeypatch, capsys):
    monkeypatch.setattr(plan, "MAX_STEPS_PER_SEGMENT", 1)
    train(store, out, preset="smoke", settings=TINY, accelerator="cpu", max_seconds=0.01)
    said = capsys.readouterr().out
    assert "stopped before the end of the first epoch; rerun" in said
    assert f"{out}/bundle" in said
    assert load_bundle(out).card.losses == {}


def test_a_notebook_shows_the_losses_and_the_model_opens(store, out):
    run = tiny(store, out)
    assert run.finished
    shown = run._repr_html_()
    assert str(out) in shown
    assert "data:image/png" in shown
    assert f"{run.losses['train_loss'].iloc[-1]:.4f}" in shown
    assert run.load(device="cpu").labels == ("apo-ferritin", "ribosome")
    (out / "losses.png").unlink()
    assert "data:image/png" not in run._repr_html_()


def test_training_leaves_the_process_as_it_was(store, out, monkeypatch):
    def state():
        return (
            dict(os.environ), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(),  # noqa: NPY002
            random.getstate(), torch.get_num_threads(), torch.get_default_dtype(), list(warnings.filters),
            [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
            [logging.getLogger(name).level for name in ("", "lightning.pytorch")], sys.excepthook,
        )  # fmt: skip

    monkeypatch.setattr("frazil.core.memory._own_processes", 0)
    load = ctypes.CDLL

    def other_than_libc(name, *options):
        assert name != "libc.so.6", "the allocator was changed"
        return load(name, *options)

    monkeypatch.setattr("ctypes.CDLL", other_than_libc)
    before = state()
    tiny(store, out)
    assert state() == before


def test_epochs_may_be_raised_and_the_run_is_resumed_also_with_force(store, out):
    first = tiny(store, out).losses
    for epochs, force in ((3, False), (4, True)):
        found = tiny(store, out, training__epochs=epochs, force=force).losses
        pd.testing.assert_frame_equal(found[:2], first)
        assert len(found) == epochs


def test_other_settings_are_refused_and_force_replaces_what_a_training_wrote(store, out, refuses):
    tiny(store, out)
    (out / "notes.txt").write_text("mine")
    with refuses(OutputError, "training.learning_rate 0.001 -> 0.5", "--force"):
        tiny(store, out, training__learning_rate=0.5)
    assert len(tiny(store, out, training__seed=9, training__epochs=1, force=True).losses) == 1
    assert len(list((out / "tensorboard").iterdir())) == 1
    assert (out / "notes.txt").read_text() == "mine"


def test_a_run_of_frazil_0_1_is_resumed(store, out, capsys, refuses):
    tiny(store, out)
    path = out / "run.json"
    described = json.loads(path.read_text())
    described |= {"schema_version": 1, "frazil": described.pop("frazil_version"), "probe": "32-true, the fastest here"}
    for section, name in [("model", "front_end"), ("model", "first_block_groups"), ("training", "class_dropout")]:
        del described["preset"][section][name]
    path.write_text(json.dumps(described))
    shutil.rmtree(out / ".written")  # it kept no journal
    capsys.readouterr()
    tiny(store, out)
    assert "nothing to do" in capsys.readouterr().out
    path.write_text(json.dumps(described))
    with refuses(OutputError, "training.class_dropout 0 -> 0.1"):
        tiny(store, out, training__class_dropout=0.1)


@pytest.mark.parametrize(("native", "other"), [("bf16-mixed", "32-true"), ("32-true", "bf16-mixed")])
def test_the_precision_of_the_machine_is_written_down_and_kept(store, out, monkeypatch, refuses, native, other):
    monkeypatch.setattr("frazil.model.compute.native_precision", lambda device: native)
    tiny(store, out, training__precision="auto")
    assert json.loads((out / "run.json").read_text())["preset"]["training"]["precision"] == native
    assert Compute.of(load_bundle(out).card.preset.training) == Compute(native, "channels-last")
    monkeypatch.setattr("frazil.model.compute.native_precision", lambda device: other)
    for epochs, again in ((3, "auto"), (4, native)):
        tiny(store, out, training__precision=again, training__epochs=epochs)
        assert Compute.of(load_bundle(out).card.preset.training) == Compute(native, "channels-last")
    with refuses(OutputError, f"training.precision {Compute(native, 'channels-last')} -> {other}"):
        tiny(store, out, training__precision=other)
    with refuses(
        OutputError, f"training.precision {Compute(native, 'channels-last')} -> {Compute(native, 'contiguous')}"
    ):
        tiny(store, out, training__precision="auto", training__memory_format="contiguous")


def test_a_slow_disk_shows_in_the_losses_and_in_a_warning(store, out, capsys, monkeypatch):
    original = TrainingBatches.__getitem__

    def slow(self, batch):
        time.sleep(0.3)
        return original(self, batch)

    monkeypatch.setattr(TrainingBatches, "__getitem__", slow)
    tiny(store, out)
    newest = pd.read_csv(out / "metrics.csv").iloc[-1]
    assert 0.5 < newest["waiting_seconds"] <= newest["seconds"]  # two epochs of two batches each
    assert "use 2 workers" in capsys.readouterr().err


def test_a_box_that_the_network_cannot_halve_is_refused_before_any_is_read(store, out, monkeypatch, refuses):
    monkeypatch.setattr("frazil.training.data.Subtomograms", None)
    with refuses(ShapeError, str(store), "box edge z = 8", "multiple of 16", "curate boxes of 16, or with fewer"):
        tiny(store, out, model__front_end="haar")
    assert not out.exists()


def test_what_is_advised_against_boxes_without_room_can_be_trained(make_box_store, out, refuses):
    boxes = make_box_store(box=16)
    for setting in ({"training__half_turns": True}, {"training__shift_voxel": 2}):
        with refuses(SettingsError, "train on boxes of 8"):
            tiny(boxes, out, **setting)
    with refuses(ShapeError, "train on boxes of 8, or with fewer model.channel_multipliers"):
        tiny(boxes, out, training__half_turns=True, training__box_size_voxel=14)
    tiny(boxes, out, training__half_turns=True, training__box_size_voxel=8)


def test_files_of_somebody_else_are_not_touched(store, out, refuses):
    out.mkdir()
    (out / "metrics.csv").write_text("years of measurements")
    for force in (False, True):
        with refuses(OutputError, "metrics.csv", "choose another folder"):
            tiny(store, out, force=force)
    assert [path.name for path in out.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--set", "training.epoch=3"], ["training.epoch", "epochs"]),
        (["--precision", "fp8"], ["precision", "fp8", "32-true"]),
        (["--preset", "paperr"], ["paperr", "paper"]),
        (["--max-time", "soon"], ["--max-time soon", "HH:MM:SS"]),
        (["--accelerator", "abacus"], ["accelerator abacus", "cpu"]),
        (["--batch-size", "1", "--accumulate", "2"], ["a batch of 1 boxes", "raise training.batch_size (now 1)"]),
        (["--keep-classes"], ["keep classes", "--from (in Python: start)"]),
        (["--from", "pretrained", "--class-from", "ribosome"], ["--class-from ribosome", "NEW=OLD"]),
    ],
)
def test_bad_options_end_in_one_line(run, store, out, options, parts):
    code, _, err = run("train", store, "--out", out, "--preset", "smoke", *options)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    for part in parts:
        assert part in err
    assert not out.exists()


def test_a_full_disk_is_said_and_leaves_nothing_half_written(store, out, monkeypatch, refuses):
    original = Path.write_bytes

    def full(self, content):
        if "last.ckpt" in self.name:
            original(self, content[:100])
            raise OSError(28, "No space left on device")
        return original(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with refuses(OutputError, "the disk is full"):
        tiny(store, out)
    assert not [path for path in out.iterdir() if "ckpt" in path.name]


def test_a_finished_run_mends_what_a_kill_kept_it_from_writing(store, out):
    tiny(store, out)
    shutil.move(out / "bundle", out / "copy")
    (out / "losses.png").unlink()
    tiny(store, out)
    assert (out / "losses.png").exists()
    assert_same_weights(out / "bundle", out / "copy")


def test_two_runs_do_not_share_a_folder(store, out, refuses):
    with run_folder(out).held(), refuses(OutputError, str(out), "another process"):
        tiny(store, out, force=True)
    tiny(store, out, force=True)


def test_another_process_waits_for_the_first_and_computes_as_it_does(make_job, tiny_preset, out, refuses):
    def record(precision):
        training = tiny_preset.training.model_copy(update={"precision": precision})
        preset = tiny_preset.model_copy(update={"training": training})
        return RunRecord(preset=preset, store="store", store_digest="sha256:0", command="frazil train")

    folder = run_folder(out)
    with refuses(OutputError, str(out), "all nodes share"):
        await_record(folder, record("auto"), seconds=0.3)
    with folder.held():
        folder.begin(record("bf16-mixed"), force=False)
    _, found = await_record(folder, record("auto"), seconds=5)
    assert found.compute == Compute("bf16-mixed", "channels-last")


def command(store, out, *more):
    options = [f"--set={key}={value}" for key, value in TINY.items()]
    return [
        sys.executable,
        "-m",
        "frazil",
        "train",
        str(store),
        "--out",
        str(out),
        "--preset",
        "smoke",
        *options,
        *more,
    ]


def test_killed_by_the_system_the_run_is_resumed(store, tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command(store, killed, "--set", "training.epochs=400"), **silent)
    deadline = time.monotonic() + 120
    while not (killed / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert process.returncode == -9
    resumed, expected = (tiny(store, folder, training__epochs=3) for folder in (killed, whole))
    assert_same_weights(resumed.bundle, expected.bundle)
    pd.testing.assert_frame_equal(resumed.losses, expected.losses)


def test_two_processes_train_as_one_does(store, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    options = {"check": True, "env": environment, "timeout": 200, "capture_output": True}
    subprocess.run(command(store, tmp_path / "two", "--accelerator", "cpu", "--devices", "2"), **options)
    one = tiny(store, tmp_path / "one")
    two = tiny(store, tmp_path / "two")  # finished
    columns = ["train_loss", "validation_loss"]
    pd.testing.assert_frame_equal(two.losses[columns], one.losses[columns], rtol=1e-3)
