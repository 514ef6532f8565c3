"""A run that was interrupted ends bitwise where one that never stopped ends; the losses are those of eq. 4."""

import io

import pytest
import torch
from rich.console import Console
from rich.progress import Progress

from frazil.core.errors import CheckpointError, TrainingError
from frazil.dataset.examples import BoxExamples
from frazil.dataset.variation import Variation
from frazil.diffusion.objective import denoising_errors
from frazil.model.noise import NoiseSchedule
from frazil.model.unet import build_network
from frazil.model.wavelet import haar_split
from frazil.training import plan
from frazil.training.batches import TrainingBatches, ValidationBatches
from frazil.training.callbacks import Saver
from frazil.training.fit import Fit, fit, saved_network
from frazil.training.folder import CHECKPOINT_NAME
from frazil.training.hardware import Hardware

CPU = Hardware(accelerator="cpu")


def as_they_are(boxes):
    return BoxExamples(boxes, Variation(), seed=0)


class Run:
    """Calls `fit` in a folder and keeps what it hands out."""

    def __init__(self, folder, make_job, preset, training, validation):
        self.folder, self.make_job, self.preset, self.training, self.validation = (
            folder, make_job, preset, training, validation,
        )  # fmt: skip
        folder.mkdir(exist_ok=True)
        self.weights: dict[str, torch.Tensor] = {}
        self.best: tuple[int, dict[str, torch.Tensor]] = (0, {})
        self.output = io.StringIO()

    def write_bundle(self, network, records, best):
        weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        if best:
            self.best = (records[-1].epoch, weights)
        else:
            self.weights = weights

    def job(self, *, hardware=CPU, end=None, **training):
        preset = self.preset.model_copy(update={"training": self.preset.training.model_copy(update=training)})
        return self.make_job(preset, run=self.folder, hardware=hardware, end=end)

    def __call__(self, **settings) -> Fit:
        return fit(
            self.job(**settings),
            as_they_are(self.training),
            as_they_are(self.validation),
            write_bundle=self.write_bundle,
            progress=Progress(console=Console(file=self.output)),
        )


class BrokenFrom:
    """A training set in which one voxel became no number."""

    def __init__(self, training_set):
        self.training_set = training_set

    def __len__(self):
        return len(self.training_set)

    def __getitem__(self, row):
        item = self.training_set[row]
        return item._replace(volume=item.volume.index_fill(3, torch.tensor([0]), float("nan")))


@pytest.fixture
def new_run(tmp_path, make_job, tiny_preset, training_set, validation_set):
    return lambda name: Run(tmp_path / name, make_job, tiny_preset, training_set, validation_set)


def assert_same(one: Run, other: Run):
    assert one.weights.keys() == other.weights.keys()
    for name, tensor in one.weights.items():
        assert torch.equal(tensor, other.weights[name]), name


def losses(result: Fit):
    return [(r.epoch, r.step, r.train_loss, r.validation_loss, r.by_noise_level) for r in result.records]


def test_resumed_at_the_end_of_an_epoch_ends_bitwise_equal(new_run):
    whole, parts = new_run("whole"), new_run("parts")
    expected = whole()
    parts(epochs=1)
    parts(epochs=2)
    resumed = parts()
    assert losses(resumed) == losses(expected)
    assert_same(parts, whole)


def test_the_fast_options_train_resume_bitwise_and_keep_the_measured_bands(new_run, training_set):
    whole, parts = new_run("whole"), new_run("parts")
    model = whole.preset.model.model_copy(
        update={
            "front_end": "haar",
            "channel_multipliers": (1, 2),
            "preconditioning": "edm",
            "modulation": "scale-shift",
            "attention_heads": 2,
        }
    )
    whole.preset = parts.preset = whole.preset.model_copy(update={"model": model})
    options = {"class_dropout": 0.2, "loss_weighting": "min-snr", "checkpoint_activations": True}
    expected = whole(epochs=2, learning_rate=1e-2, **options)
    parts(epochs=1, learning_rate=1e-2, **options)
    assert losses(parts(epochs=2, learning_rate=1e-2, **options)) == losses(expected)
    assert_same(parts, whole)
    volumes = torch.stack([training_set[row].volume for row in range(20)])
    std = haar_split(volumes).square().mean(dim=(0, 2, 3, 4)).sqrt()
    torch.testing.assert_close(whole.weights["front_end.std"], std)
    assert expected.records[-1].validation_loss < expected.records[0].train_loss < 1


def test_deviations_from_the_settings_are_not_measured(new_run):
    run = new_run("run")
    model = run.preset.model.model_copy(
        update={"front_end": "haar", "channel_multipliers": (1,), "band_std": (0.5,) * 8}
    )
    run.preset = run.preset.model_copy(update={"model": model})
    run(epochs=1)
    assert run.weights["front_end.std"].tolist() == [0.5] * 8


@pytest.mark.parametrize("killed_at", [2, 5, 7])
def test_killed_anywhere_the_same_call_goes_on_and_ends_bitwise_equal(new_run, training_set, monkeypatch, killed_at):
    monkeypatch.setattr(plan, "MAX_STEPS_PER_SEGMENT", 2)  # an epoch is two segments
    monkeypatch.setattr(Saver.__init__, "__kwdefaults__", {"end": None, "every_seconds": 0.0})
    whole, killed = new_run("whole"), new_run("killed")
    whole.training = killed.training = type(training_set)(32)
    expected = whole()
    assert expected.records[0].step == 4

    original, calls = TrainingBatches.__getitem__, []

    def interrupted(self, batch):
        calls.append(batch)
        if len(calls) == killed_at:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(TrainingBatches, "__getitem__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        killed()
    monkeypatch.setattr(TrainingBatches, "__getitem__", original)
    assert losses(killed()) == losses(expected)
    assert_same(killed, whole)


def test_finished_is_finished(new_run):
    run = new_run("run")
    first = run(epochs=1)
    again = run(epochs=1)
    assert first.finished
    assert again.finished
    assert losses(again) == losses(first)


def test_the_deadline_stops_where_a_segment_ends_and_the_same_call_goes_on(new_run):
    whole, halted = new_run("whole"), new_run("halted")
    expected = whole()
    result = halted(end=0.0)
    assert not result.finished
    assert [record.epoch for record in result.records] == [1]
    assert losses(halted()) == losses(expected)
    assert_same(halted, whole)


def test_accumulated_passes_train_like_one(new_run):
    plain, shared = new_run("plain"), new_run("shared")
    one = plain(ema_decay=0.0)
    two = shared(ema_decay=0.0, accumulate=2)
    assert [r.train_loss for r in two.records] == pytest.approx([r.train_loss for r in one.records], rel=1e-4)


def test_the_network_learns(new_run):
    # z-scored volumes have mean square 1, and one of two known blobs is easily told from noise
    result = new_run("run")(epochs=12, ema_decay=0.0, learning_rate=1e-2)
    assert result.records[0].train_loss > 0.5
    assert result.records[-1].validation_loss < 0.1


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_the_validation_loss_is_eq_4_of_the_bundled_weights_on_the_fixed_pairs(
    new_run, tiny_preset, validation_set, ema_decay
):
    run = new_run("run")
    newest = run(epochs=2, ema_decay=ema_decay).records[-1]
    network = build_network(tiny_preset.model, 2)
    network.load_state_dict(run.weights)
    pairs = [(row, draw) for row in range(4) for draw in range(5)]
    batch = ValidationBatches(as_they_are(validation_set), tiny_preset)[pairs]
    schedule = NoiseSchedule.from_settings(tiny_preset.diffusion)
    with torch.no_grad():
        errors = denoising_errors(network, batch.volumes, batch.condition, batch.t, batch.noise, schedule)
    expected = errors.mean(dim=1)
    assert newest.validation_loss == pytest.approx(float(expected.mean()), rel=1e-5)
    for level, loss in enumerate(newest.by_noise_level):
        here = expected[batch.t // 5 == level]
        assert (loss is None) == (len(here) == 0)
        assert loss is None or loss == pytest.approx(float(here.mean()), rel=1e-5)


def test_progress_says_loss_speed_and_time_left(new_run):
    run = new_run("run")
    run(epochs=2)
    assert "epoch 2/2  train 0." in run.output.getvalue() or "epoch 2/2  train 1." in run.output.getvalue()
    assert "boxes/s" in run.output.getvalue()
    assert "min left" in run.output.getvalue()


def test_validate_every_leaves_the_other_epochs_empty(new_run):
    result = new_run("run")(epochs=4, validate_every=2)
    assert [r.validation_loss is None for r in result.records] == [True, False, True, False]


def test_without_validation_boxes_the_run_goes_through(new_run, training_set):
    run = new_run("run")
    run.validation = type(training_set)(0)
    assert [r.validation_loss for r in run(epochs=1).records] == [None]


def test_bf16_trains_and_its_weights_stay_float32(new_run):
    run = new_run("run")
    result = run(epochs=1, precision="bf16-mixed")
    assert result.records[0].train_loss > 0
    assert {tensor.dtype for tensor in run.weights.values()} == {torch.float32}


def test_a_loss_that_is_no_number_stops_the_run_and_is_not_saved(new_run, training_set, refuses):
    run = new_run("run")
    run(epochs=1)
    before = (run.folder / CHECKPOINT_NAME).read_bytes()
    for broken in ("training", "validation"):
        whole = getattr(run, broken)
        setattr(run, broken, BrokenFrom(whole))
        with refuses(TrainingError, "loss is nan at step 6", "lower training.learning_rate"):
            run(epochs=2)
        setattr(run, broken, whole)
    assert (run.folder / CHECKPOINT_NAME).read_bytes() == before


def test_the_best_bundle_is_that_of_the_lowest_validation_loss(new_run):
    # a learning rate this high makes the loss go up and down
    run = new_run("run")
    records = run(epochs=8, ema_decay=0.0, learning_rate=5e-2).records
    lowest = min(records, key=lambda record: record.validation_loss)
    assert run.best[0] == lowest.epoch
    shorter = new_run("shorter")
    shorter(epochs=lowest.epoch, ema_decay=0.0, learning_rate=5e-2)
    assert all(torch.equal(run.best[1][name], tensor) for name, tensor in shorter.weights.items())


def test_the_saved_network_is_the_bundled_one(new_run, tiny_preset):
    run = new_run("run")
    run()
    saved = saved_network(run.folder, tiny_preset, 2).state_dict()
    assert all(torch.equal(saved[name], tensor) for name, tensor in run.weights.items())


def test_a_damaged_checkpoint_is_named(new_run):
    run = new_run("run")
    run(epochs=1)
    path = run.folder / CHECKPOINT_NAME
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        run(epochs=2)
