"""The classifier learns what can be learned, nothing else, and always the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from frazil.core.errors import BundleError, ShapeError, TrainingError
from frazil.evaluation.stages.usefulness.classifier import Classifier, binning, train_classifier, window_edge
from frazil.evaluation.volumes import VolumeSet

CLASSES = ("large", "middle", "small")


def train(volumes: VolumeSet, **options) -> Classifier:
    return train_classifier(volumes, CLASSES, **({"seed": 0, "steps": 40, "batch_size": 16} | options))


def accuracy(classifier: Classifier, volumes: VolumeSet) -> float:
    decided = np.array(classifier.classes)[classifier.predict(volumes.volumes).argmax(axis=1)]
    return float((decided == volumes.labels).mean())


@pytest.fixture(scope="module")
def learned(draw) -> Classifier:
    return train(draw(20, "classifier test", "train"))


def test_separable_classes_are_told_apart(draw, learned):
    assert accuracy(learned, draw(20, "classifier test", "test")) == 1


def test_the_decision_is_linear_in_the_features(draw, learned):
    volumes = draw(8, "classifier test", "test").volumes
    features = learned.features(volumes)
    assert features.shape == (24, 64)
    logits = np.log(learned.predict(volumes).astype(np.float64))
    logits -= logits.mean(axis=1, keepdims=True)
    design = np.column_stack([features, np.ones(len(features))])
    solution = np.linalg.lstsq(design.astype(np.float64), logits, rcond=None)[0]
    np.testing.assert_allclose(design @ solution, logits, atol=1e-3)


def test_every_class_is_shown_equally_often(draw):
    # 60 of one class against 3 of each other: without balance the rare ones would be given up
    many = draw(60, "classifier test", "train")
    few = many.subset([*range(60), 60, 61, 62, 120, 121, 122])
    recall = [accuracy(train(few, steps=80), draw(20, "classifier test", "test").of(name)) for name in CLASSES]
    assert min(recall) > 0.5


def test_the_same_seed_trains_the_same_classifier_whatever_the_global_generator(draw):
    volumes = draw(5, "classifier test", "train")
    torch.manual_seed(1)
    one = train(volumes, steps=5).predict(volumes.volumes)
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    again = train(volumes, steps=5).predict(volumes.volumes)
    assert torch.equal(torch.random.get_rng_state(), state)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, train(volumes, steps=5, seed=1).predict(volumes.volumes))


def test_turns_are_shown(draw):
    # a particle that lies off the center is learned in one place only without turns, in both with them
    def off_center(side: int, *path: str) -> VolumeSet:
        volumes = draw(12, "classifier test", *path)
        shifted = np.roll(volumes.volumes, (side, side), axis=(1, 3))
        return replace(volumes, volumes=shifted)

    plain = train(off_center(2, "train"), shift_voxel=0)
    turned = train(off_center(2, "train"), shift_voxel=0, turns=("identity", "y"), steps=80)
    there, elsewhere = off_center(2, "test"), off_center(-2, "test")
    assert accuracy(turned, there) > 0.85
    assert accuracy(turned, elsewhere) > 0.85
    assert accuracy(plain, there) > 0.85
    assert accuracy(plain, elsewhere) < accuracy(turned, elsewhere) - 0.15


def test_what_was_saved_predicts_the_same_bit_by_bit(draw, learned, tmp_path):
    path = tmp_path / "classifier.safetensors"
    learned.save(path)
    read = Classifier.load(path)
    volumes = draw(10, "classifier test", "test").volumes
    np.testing.assert_array_equal(read.predict(volumes), learned.predict(volumes))
    np.testing.assert_array_equal(read.features(volumes), learned.features(volumes))
    assert read.card == learned.card
    assert read.classes == CLASSES
    assert read.card.counts == dict.fromkeys(CLASSES, 20)
    assert "3 classes" in read.description
    learned.save(path)  # replaces itself
    assert list(tmp_path.iterdir()) == [path]


def test_damage_is_noticed(learned, tmp_path):
    path = tmp_path / "classifier.safetensors"
    learned.save(path)
    whole = path.read_bytes()
    weights = load_file(path)
    for damage in (
        lambda: path.unlink(),
        lambda: path.write_bytes(whole[:-1]),
        lambda: path.write_bytes(b"x"),
        lambda: save_file(weights, path),
        lambda: save_file(weights, path, metadata={"card": "{}"}),
        lambda: save_file({}, path, metadata={"card": learned.card.model_dump_json()}),
    ):
        damage()
        with pytest.raises(BundleError, match=str(path)):
            Classifier.load(path)


def test_other_boxes_are_refused(learned, refuses):
    with refuses(ShapeError, "(12, 12, 12)", "16^3", "that size"):
        learned.predict(np.zeros((1, 12, 12, 12), np.float32))


def test_what_cannot_be_learned_is_refused(draw, refuses):
    small = draw(1, "classifier test", "small")
    with refuses(ShapeError, "4 voxels", "8 or more"):
        train(replace(small, volumes=small.volumes[:, :4, :4, :4]))
    with refuses(TrainingError, "nan", "step 1", "NaN"):
        train(replace(small, volumes=small.volumes * np.nan))


@pytest.mark.parametrize(
    ("box", "window", "bins"), [(8, 8, 1), (10, 8, 1), (16, 12, 1), (32, 28, 1), (64, 32, 1), (96, 48, 2), (128, 64, 2)]
)
def test_the_window_is_the_middle_where_the_particle_is(box, window, bins):
    assert window_edge(box) == window
    assert binning(window) == bins


def test_a_flipped_bit_is_found(learned, tmp_path):
    path = tmp_path / "classifier.safetensors"
    learned.save(path)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match="its digest does not fit"):
        Classifier.load(path)
