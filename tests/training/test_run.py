"""`frazil train` from the command line: what it writes, refuses and resumes, and that two processes train as one does."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from frazil.core.errors import OutputError
from frazil.core.files import exclusive
from frazil.core.presets import load_preset
from frazil.dataset.store import BoxStore
from frazil.model.bundle import load_bundle
from frazil.model.compute import Compute
from frazil.model.probe import Probe
from frazil.training.batches import TrainingBatches
from frazil.training.folder import RunFolder
from frazil.training.run import train

TINY = [
    *("--preset", "smoke", "--epochs", "2", "--batch-size", "4", "--accelerator", "cpu"),
    *("--set", "model.base_channels=8", "--set", "model.embedding_width=8", "--set", "diffusion.timesteps=20"),
]


@pytest.fixture
def store(real_boxes):
    """Eight training and eight validation boxes of 8^3 voxels."""
    return real_boxes


@pytest.fixture
def frazil(run):
    """The command line, under a name that leaves ``run`` to the folder of a training."""
    return run


def rows(run):
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


def test_a_run_writes_all_it_promises_and_a_second_call_does_nothing(frazil, store, tmp_path):
    run = tmp_path / "run"
    code, out, err = frazil("train", store, "--out", run, *TINY)
    assert code == 0, err
    assert "8 training and 8 validation boxes of 8^3 voxels at 10.012 A, 2 classes" in out
    assert {path.name for path in run.iterdir()} >= {"run.json", "metrics.csv", "tensorboard", "losses.png", "bundle"}
    assert "epoch 2/2: train" in out

    bundle = load_bundle(run / "bundle")
    opened = BoxStore.open(store)
    assert bundle.card.labels == ("apo-ferritin", "ribosome")
    assert bundle.card.voxel_size_angstrom == pytest.approx(10.0125)
    assert bundle.card.box_size_voxel == 8
    assert bundle.card.tilt_range_degrees == (-48.0, 45.0)
    assert bundle.card.training_data_digest == opened.digest
    assert bundle.card.losses["epochs"] == 2
    assert bundle.card.radius_angstrom == {"apo-ferritin": 30.0, "ribosome": 60.0}
    assert bundle.card.losses["validation_loss"] == pytest.approx(float(rows(run)[-1]["validation_loss"]))

    best = load_bundle(run / "bundle-best").card.losses
    assert best["validation_loss"] == pytest.approx(min(float(row["validation_loss"]) for row in rows(run)))

    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "run.json"}
    code, out, _ = frazil("train", store, "--out", run, *TINY)
    assert code == 0
    assert "nothing to do" in out
    assert {path: path.read_bytes() for path in before} == before


def test_epochs_may_be_raised_and_the_run_goes_on(frazil, store, tmp_path):
    run = tmp_path / "run"
    frazil("train", store, "--out", run, *TINY)
    first = rows(run)
    code, _, err = frazil("train", store, "--out", run, *TINY, "--epochs", "3")
    assert code == 0, err
    assert rows(run)[:2] == first
    assert len(rows(run)) == 3


def test_other_settings_or_another_store_are_refused_and_force_begins_anew(frazil, store, tmp_path):
    run = tmp_path / "run"
    frazil("train", store, "--out", run, *TINY)
    code, _, err = frazil("train", store, "--out", run, *TINY, "--learning-rate", "0.5")
    assert code == 2
    assert "training.learning_rate was 0.001, is 0.5" in err
    assert "--force" in err
    assert len(err.strip().splitlines()) == 1
    code, _, err = frazil("train", store, "--out", run, *TINY, "--learning-rate", "0.01", "--epochs", "1", "--force")
    assert code == 0, err
    assert len(rows(run)) == 1


def test_a_run_from_before_a_setting_existed_goes_on(frazil, store, tmp_path):
    run = tmp_path / "run"
    frazil("train", store, "--out", run, *TINY)
    described = json.loads((run / "run.json").read_text())
    for section, name in [("model", "front_end"), ("model", "channel_multipliers"), ("training", "class_dropout")]:
        del described["preset"][section][name]
    (run / "run.json").write_text(json.dumps(described))
    code, out, err = frazil("train", store, "--out", run, *TINY)
    assert code == 0, err
    assert "nothing to do" in out
    code, _, err = frazil("train", store, "--out", run, *TINY, "--set", "training.class_dropout=0.1")
    assert code == 2
    assert "training.class_dropout was 0.0, is 0.1" in err


def test_the_precision_that_a_probe_chose_is_kept(frazil, store, tmp_path, monkeypatch):
    run = tmp_path / "run"
    asked = []

    def probe(network, among, **options):
        asked.append(among)
        return Probe(among[1], dict.fromkeys(among, 0.25), 8, gradients=True)

    monkeypatch.setattr("frazil.training.limits.probe", probe)
    code, out, err = frazil("train", store, "--out", run, *TINY, "--precision", "auto")
    assert code == 0, err
    assert "bf16-mixed, the fastest here: 32-true 0.250 s, bf16-mixed 0.250 s a pass with gradients" in out
    described = json.loads((run / "run.json").read_text())
    assert described["preset"]["training"]["precision"] == "bf16-mixed"
    assert described["probe"].startswith("bf16-mixed, the fastest here")
    assert load_bundle(run / "bundle").card.preset.training.precision == "bf16-mixed"
    for again in ("auto", "bf16-mixed"):
        code, out, err = frazil("train", store, "--out", run, *TINY, "--precision", again, "--epochs", "3")
        assert code == 0, err
        assert "fastest" not in out
    assert len(asked) == 1
    assert json.loads((run / "run.json").read_text())["probe"] == described["probe"]
    code, _, err = frazil("train", store, "--out", run, *TINY, "--precision", "32-true")
    assert code == 2
    assert "training.precision was bf16-mixed, is 32-true" in err
    code, _, err = frazil("train", store, "--out", run, *TINY, "--precision", "auto", "--memory-format", "contiguous")
    assert code == 2
    assert "training.memory_format was channels-last, is contiguous" in err


def test_a_slow_disk_shows_in_the_losses_and_in_the_last_line(frazil, store, tmp_path, monkeypatch):
    original = TrainingBatches.__getitem__

    def slow(self, batch):
        time.sleep(1.0)
        return original(self, batch)

    monkeypatch.setattr(TrainingBatches, "__getitem__", slow)
    run = tmp_path / "run"
    code, out, err = frazil("train", store, "--out", run, *TINY)
    assert code == 0, err
    waited, seconds = (float(rows(run)[-1][name]) for name in ("waiting_seconds", "seconds"))
    assert 1.9 < waited <= seconds  # of two epochs of two batches each, the first at least
    assert f"{waited / seconds:.1%} of them waiting for boxes" in out or "waiting for boxes" in out
    assert "--workers 2" in err


def test_a_box_that_the_network_cannot_halve_is_refused_before_any_is_read(frazil, store, tmp_path, monkeypatch):
    monkeypatch.setattr("frazil.training.run.Subtomograms", None)
    code, _, err = frazil("train", store, "--out", tmp_path / "run", *TINY, "--set", "model.front_end=haar")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    for part in (str(store), "box edge z = 8", "multiple of 16", "curate with --box 16, or with fewer"):
        assert part in err
    assert not (tmp_path / "run").exists()


def test_what_is_advised_against_boxes_without_room_can_be_trained(frazil, make_box_store, tmp_path):
    boxes = make_box_store(box=16)
    for option in (["--half-turns"], ["--shift", "2"]):
        code, _, err = frazil("train", boxes, "--out", tmp_path / option[0], *TINY, *option)
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        assert "train with --box 8" in err
    code, _, err = frazil("train", boxes, "--out", tmp_path / "run", *TINY, "--half-turns", "--box", "14")
    assert code == 2
    assert "train with --box 8, or with fewer model.channel_multipliers" in err
    code, _, err = frazil("train", boxes, "--out", tmp_path / "run", *TINY, "--half-turns", "--box", "8")
    assert code == 0, err


def test_a_folder_that_holds_something_else_is_not_touched(frazil, store, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mother.txt").write_text("dear mother")
    code, _, err = frazil("train", store, "--out", tmp_path / "letters", *TINY)
    assert code == 2
    assert "is not empty and holds no training run" in err
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["mother.txt"]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--set", "training.epoch=3"], ["training.epoch", "epochs"]),
        (["--precision", "fp8"], ["precision", "fp8", "32-true"]),
        (["--preset", "paperr"], ["paperr", "paper"]),
        (["--max-time", "soon"], ["--max-time soon", "HH:MM:SS"]),
        (["--devices", "2", "--accelerator", "gpu"], ["GPU", "--accelerator cpu"]),
        (["--accelerator", "abacus"], ["--accelerator abacus", "cpu"]),
        (["--strategy", "hope"], ["--strategy hope", "ddp"]),
        (["--batch-size", "1", "--accumulate", "2"], ["a batch of 1 boxes", "raise --batch-size"]),
    ],
)
def test_bad_options_end_in_one_line(frazil, store, tmp_path, options, parts):
    code, _, err = frazil("train", store, "--out", tmp_path / "run", *TINY, *options)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    for part in parts:
        assert part in err
    assert not (tmp_path / "run").exists()


def test_a_store_that_is_none_is_named(frazil, tmp_path):
    code, _, err = frazil("train", tmp_path / "nowhere", "--out", tmp_path / "run", *TINY)
    assert code == 2
    assert "nowhere" in err
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_ends_in_one_line(frazil, store, tmp_path):
    run = tmp_path / "run"
    frazil("train", store, "--out", run, *TINY)
    checkpoint = next(run.glob("*.safetensors"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    code, _, err = frazil("train", store, "--out", run, *TINY, "--epochs", "3")
    assert code == 2
    assert "damaged" in err
    assert "delete it" in err
    assert len(err.strip().splitlines()) == 1


def test_a_full_disk_ends_in_one_line_and_leaves_nothing_half_written(frazil, store, tmp_path, monkeypatch):
    original = Path.write_bytes

    def full(self, content):
        if "last.ckpt" in self.name:
            original(self, content[:100])
            raise OSError(28, "No space left on device")
        return original(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    code, _, err = frazil("train", store, "--out", tmp_path / "run", *TINY)
    assert code == 2
    assert "the disk is full" in err
    assert not [path for path in (tmp_path / "run").iterdir() if "ckpt" in path.name]


@pytest.mark.parametrize("lost", ["bundle", "losses.png"])
def test_a_finished_run_mends_what_a_kill_kept_it_from_writing(frazil, store, tmp_path, lost):
    run = tmp_path / "run"
    frazil("train", store, "--out", run, *TINY)
    before = load_bundle(run / "bundle").network.state_dict()
    shutil.rmtree(run / lost) if lost == "bundle" else (run / lost).unlink()
    code, out, err = frazil("train", store, "--out", run, *TINY)
    assert code == 0, err
    assert "nothing to do" in out
    assert (run / lost).exists()
    after = load_bundle(run / "bundle").network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_force_goes_on_with_the_same_run_and_clears_away_another(frazil, store, tmp_path):
    run = tmp_path / "run"
    frazil("train", store, "--out", run, *TINY)
    first = rows(run)
    code, _, err = frazil("train", store, "--out", run, *TINY, "--epochs", "3", "--force")
    assert code == 0, err
    assert rows(run)[:2] == first
    (run / "notes.txt").write_text("mine")
    code, _, err = frazil("train", store, "--out", run, *TINY, "--seed", "9", "--force")
    assert code == 0, err
    assert len(rows(run)) == 2
    assert len(list((run / "tensorboard").iterdir())) == 1
    assert (run / "notes.txt").read_text() == "mine"


def test_two_runs_do_not_share_a_folder(frazil, store, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    with exclusive(run, "trains"):
        code, _, err = frazil("train", store, "--out", run, *TINY, "--force")
    assert code == 2
    assert "another process trains here" in err
    code, _, err = frazil("train", store, "--out", run, *TINY, "--force")
    assert code == 0, err


def test_a_loss_that_is_no_number_ends_in_one_line(frazil, store, tmp_path):
    code, _, err = frazil("train", store, "--out", tmp_path / "run", *TINY, "--learning-rate", "1e30")
    assert code == 2
    assert "Traceback" not in err
    assert "training loss is" in err.strip().splitlines()[-1]  # above it stands the bar that got so far
    assert not (tmp_path / "run" / "bundle").exists()


def test_another_process_waits_for_the_first_computes_as_it_does_and_says_when_it_does_not_come(
    tmp_path, store, refuses
):
    boxes, preset = BoxStore.open(store), load_preset("smoke", {"training.precision": "auto"})
    with refuses(OutputError, str(tmp_path), "first process did not prepare it", "all nodes share"):
        RunFolder.await_first(tmp_path / "run", preset, boxes, seconds=0.3)
    with ExitStack() as held:
        decided = load_preset("smoke", {"training.precision": "bf16-mixed"})
        RunFolder(tmp_path / "run").prepare(decided, boxes, held, probed=None)
    found = RunFolder.await_first(tmp_path / "run", preset, boxes, seconds=5)
    assert found.compute == Compute("bf16-mixed", "channels-last")


def command(store, run, *more):
    return [sys.executable, "-m", "frazil", "train", str(store), "--out", str(run), *TINY, *more]


def test_killed_by_the_system_the_same_command_goes_on(store, tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen(
        command(store, killed, "--epochs", "400"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (killed / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert process.returncode == -9
    preset = load_preset("smoke", _overrides(epochs=3))
    train(store, killed, preset)
    train(store, whole, preset)
    one, other = load_bundle(killed / "bundle"), load_bundle(whole / "bundle")
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, other.network.state_dict()[name])
    assert [row["train_loss"] for row in rows(killed)] == [row["train_loss"] for row in rows(whole)]


def _overrides(*, epochs):
    return {
        "training.epochs": epochs,
        "training.batch_size": 4,
        "model.base_channels": 8,
        "model.embedding_width": 8,
        "diffusion.timesteps": 20,
    }


def test_two_processes_train_as_one_does(store, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command(store, two, "--devices", "2"), check=True, env=environment, timeout=200, capture_output=True)
    train(store, one, load_preset("smoke", _overrides(epochs=2)))
    assert len(rows(two)) == 2
    for alone, together in zip(rows(one), rows(two), strict=True):
        for column in ("train_loss", "validation_loss"):
            assert float(together[column]) == pytest.approx(float(alone[column]), rel=1e-3)
    described = json.loads((two / "run.json").read_text())
    assert "--devices 2" in described["command"]
