"""The learned embedding is trained once for the same real boxes, and a cache that fails costs only time."""

from pathlib import Path

import numpy as np
import pytest

from frazil.evaluation.stages import learned as module
from frazil.evaluation.stages.learned import LearnedEmbedding, cache_folder
from frazil.evaluation.volumes import Sets, VolumeSet


@pytest.fixture
def sets():
    volumes = np.random.default_rng(0).standard_normal((6, 8, 8, 8), dtype=np.float32)
    some = VolumeSet(volumes, np.array(["a", "b"] * 3), tuple("uvwxyz"), 10.0)
    return Sets(some, some, some)


@pytest.fixture
def trained(monkeypatch):
    """Train for one step, and count how often."""
    train, calls = module.train_classifier, []

    def train_classifier(*arguments, **options):
        calls.append(options["seed"])
        return train(*arguments, **options, steps=1)

    monkeypatch.setattr(module, "train_classifier", train_classifier)
    return calls


def learned(folder, sets, *, digest="sha256:1", box=8, seed=0):
    embedding = LearnedEmbedding(digest, box, seed, folder)
    if not embedding.find():
        embedding.learn(sets, lambda share: None)
    return embedding


def test_it_is_learned_once_and_is_the_same_again(sets, trained, tmp_path):
    first = learned(tmp_path, sets)
    again = learned(tmp_path, sets)
    assert trained == [0]
    np.testing.assert_array_equal(first(sets.generated.volumes), again(sets.generated.volumes))
    assert first(sets.generated.volumes).shape[0] == 6
    assert "classifier of 2 classes" in again.description


@pytest.mark.parametrize("other", [{"digest": "sha256:2"}, {"seed": 1}, {"box": 16}])
def test_other_boxes_and_seeds_have_their_own(sets, trained, tmp_path, other):
    learned(tmp_path, sets)
    learned(tmp_path, sets, **other)
    assert len(trained) == 2


def test_a_damaged_one_is_learned_again(sets, trained, tmp_path, capsys):
    embedding = learned(tmp_path, sets)
    embedding.path.write_bytes(b"x")
    learned(tmp_path, sets)
    assert len(trained) == 2
    assert "training it again" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_costs_only_time(sets, trained, tmp_path, capsys):
    (tmp_path / "embeddings").write_text("in the way")
    embedding = learned(tmp_path, sets)
    assert len(embedding(sets.generated.volumes)) == 6
    assert "FRAZIL_CACHE" in capsys.readouterr().err


def test_where_it_is_kept(monkeypatch):
    monkeypatch.setenv("FRAZIL_CACHE", "/a")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("FRAZIL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder().name == "frazil"  # the platform says where
