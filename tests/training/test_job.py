"""What a machine cannot train is refused in one line, before anything is read or written."""

import pytest

from frazil.core.errors import SettingsError
from frazil.core.presets import load_preset
from frazil.training import job as training_job
from frazil.training.hardware import Hardware
from frazil.training.job import check_memory

FAST = {"model.front_end": "haar", "training.precision": "bf16-mixed"}
GIB = 2**30


@pytest.fixture
def memory(monkeypatch):
    """Return a function that sets the memory of the machine, and lets the allocator be."""
    monkeypatch.setattr(training_job, "keep_freed_memory", lambda needed, has: False)

    def set_to(gib):
        monkeypatch.setattr(training_job, "memory_of", lambda device, processes=1: int(gib * GIB) // processes)

    return set_to


def preset(**changes):
    return load_preset("paper", FAST | {key.replace("__", "."): value for key, value in changes.items()})


@pytest.mark.parametrize(
    ("gib", "edge", "changes", "advice"),
    [
        (4, 128, {}, "set training.accumulate=4"),
        (1.5, 128, {}, "set training.accumulate=16"),
        (1.3, 128, {}, "set training.checkpoint_activations=true, training.accumulate=16"),
        (1.8, 128, {"training__precision": "32-true"}, "checkpoint_activations=true, training.accumulate=16"),
        (
            1.3,
            128,
            {"training__precision": "32-true"},
            "checkpoint_activations=true, training.precision=bf16-mixed, training.accumulate=16",
        ),
        (1.3, 160, {}, "curate boxes of at most 128 voxels"),
        (0.5, 64, {}, "use a machine with more memory"),
    ],
)
def test_a_pass_that_does_not_fit_is_refused_with_what_would(make_job, memory, refuses, gib, edge, changes, advice):
    memory(gib)
    with refuses(SettingsError, f"boxes of {edge} voxels needs about", f"cpu has {gib:.1f} GiB", advice):
        check_memory(make_job(preset(**changes), edge=edge))


@pytest.mark.parametrize(
    ("edge", "boxes", "precision", "checkpoint", "gib"),
    [  # peak of the process (docs/lab/performance.md)
        (64, 1, "bf16-mixed", False, 0.46),
        (64, 4, "bf16-mixed", False, 0.71),
        (64, 16, "bf16-mixed", False, 1.41),
        (64, 4, "32-true", False, 0.94),
        (64, 16, "32-true", False, 2.28),
        (96, 1, "bf16-mixed", True, 0.59),
        (128, 1, "bf16-mixed", True, 0.87),
        (128, 1, "bf16-mixed", False, 0.91),
    ],
)
def test_the_estimate_is_above_what_was_measured_and_below_twice(make_job, edge, boxes, precision, checkpoint, gib):
    measured = preset(training__precision=precision, training__checkpoint_activations=checkpoint)
    assert gib < training_job._needed(make_job(measured, edge=edge), boxes) / GIB < 2 * gib + 0.2


def test_what_is_advised_fits(make_job, memory):
    memory(4)
    check_memory(make_job(preset(training__accumulate=4), edge=128))
    memory(1.3)
    check_memory(make_job(preset(training__accumulate=16, training__checkpoint_activations=True), edge=128))


def test_processes_share_the_batch_and_the_memory(make_job, memory, refuses):
    memory(4)
    with refuses(SettingsError, "a pass over 8 boxes", "cpu has 2.0 GiB"):
        check_memory(make_job(preset(), edge=128, hardware=Hardware(accelerator="cpu", devices=2)))


def test_boxes_stay_in_memory_where_they_are_a_quarter_of_it_at_most(make_job, memory):
    memory(8)
    assert check_memory(make_job(preset(), edge=64, count=2047))
    assert not check_memory(make_job(preset(), edge=64, count=2048))


def test_more_devices_than_there_is_to_validate_are_refused(make_job, refuses):
    small = preset(training__batch_size=6, training__validation_draws=2)
    job = make_job(small, edge=16, hardware=Hardware(accelerator="cpu", devices=3))
    job.data.store.boxes = {"train": range(8), "validation": range(1)}.__getitem__
    with refuses(SettingsError, "devices 3", "1 validation boxes at 2", "at most 2", "training.validation_draws=3"):
        job.check()
    job.data.store.boxes = {"train": range(8), "validation": range(2)}.__getitem__
    job.check()
