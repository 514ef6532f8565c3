"""Examples are drawn at random, the closest pairs are aligned, and all come back as they were written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import SourceError
from frazil.evaluation.examples import (
    PER_CLASS,
    Examples,
    ExampleSet,
    binned,
    make_examples,
    read_examples,
    to_grey,
    write_examples,
)
from frazil.evaluation.metrics.matching import aligned_box
from frazil.evaluation.scores import ClosePair
from frazil.evaluation.volumes import Sets, VolumeSet


@pytest.fixture
def examples():
    random = np.random.default_rng(0)
    generated = random.integers(0, 256, (2, 4, 4, 4), dtype=np.uint8)
    return Examples(
        generated=ExampleSet(generated, ("ribosome-00000", "β-amylase-00001"), ("ribosome", "β-amylase")),
        real=ExampleSet(generated[:0], (), ()),
        pair_sample=generated[None, :, 0].repeat(2, axis=1)[:, :3],
        pair_box=generated[None, :, 1].repeat(2, axis=1)[:, :3],
        grey_low=-5.5,
        grey_high=3.25,
    )


def test_round_trip(examples, tmp_path):
    write_examples(tmp_path / "examples.npz", examples)
    found = read_examples(tmp_path / "examples.npz")
    for kind, own in found.sets.items():
        expected = examples.sets[kind]
        np.testing.assert_array_equal(own.volumes, expected.volumes)
        assert own.volumes.dtype == np.uint8
        assert (own.names, own.labels) == (expected.names, expected.labels)
    for name in ("pair_sample", "pair_box", "grey_low", "grey_high"):
        np.testing.assert_array_equal(getattr(found, name), getattr(examples, name))


def test_nothing_is_pickled_and_the_same_examples_give_the_same_bytes(examples, tmp_path):
    write_examples(tmp_path / "one.npz", examples)
    write_examples(tmp_path / "two.npz", examples)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


@given(st.floats(-6, 4), st.floats(-9, -6), st.floats(4, 9))
def test_a_grey_value_stands_for_its_z_score_within_half_a_step(value, low, high):
    grey = to_grey(np.array([value, low - 1, high + 1]), low, high)
    assert grey[1:].tolist() == [0, 255]
    assert abs(low + grey[0] / 255 * (high - low) - value) <= 0.5001 * (high - low) / 255


def test_what_is_no_examples_file_is_refused(examples, tmp_path, refuses):
    path = tmp_path / "examples.npz"
    with refuses(SourceError, str(path), "no such file", "frazil evaluate"):
        read_examples(path)
    path.write_bytes(b"not an archive")
    with refuses(SourceError, str(path), "damaged", "frazil evaluate again"):
        read_examples(path)
    np.savez(path, something=np.zeros(3))
    with refuses(SourceError, str(path), "not frazil examples"):
        read_examples(path)
    write_examples(path, examples)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with refuses(SourceError, str(path), "damaged"):
        read_examples(path)


def test_a_newer_schema_and_a_missing_array_are_refused(examples, tmp_path, refuses):
    path = tmp_path / "examples.npz"
    write_examples(path, examples)
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **(arrays | {"schema_version": np.int64(99)}))
    with refuses(SourceError, "schema version 99", "newer frazil", "upgrade"):
        read_examples(path)
    np.savez(path, **{name: array for name, array in arrays.items() if name != "pair_box"})
    with refuses(SourceError, str(path), "pair_box", "missing"):
        read_examples(path)


def test_binned_voxels_are_means_of_blocks_and_incomplete_blocks_go():
    grey = np.arange(5 * 4, dtype=np.uint8).reshape(5, 4)
    assert binned(grey, 2).tolist() == [[2, 4], [10, 12]]
    assert binned(grey, 1).tolist() == grey.tolist()


def volumes(count, seed, labels=("a", "b"), edge=8):
    values = np.random.default_rng(seed).standard_normal((count * len(labels), edge, edge, edge)).astype(np.float32)
    names = tuple(f"{seed}/{row}" for row in range(len(values)))
    return VolumeSet(values, np.array(labels * count), names, 10.0)


@pytest.fixture
def sets():
    return Sets(volumes(9, 1), volumes(7, 2, labels=("a", "b", "c")), volumes(3, 3), seed=4)


def test_five_of_each_generated_class_are_drawn_by_the_seed(sets):
    examples = make_examples(sets, ())
    assert examples.generated.labels == ("a",) * PER_CLASS + ("b",) * PER_CLASS == examples.real.labels
    assert examples.generated.names != sets.generated.names[::2][:PER_CLASS] + sets.generated.names[1::2][:PER_CLASS]
    assert make_examples(sets, ()).generated.names == examples.generated.names
    for row, name in enumerate(examples.generated.names):
        volume = sets.generated.volumes[sets.generated.names.index(name)]
        np.testing.assert_array_equal(
            examples.generated.volumes[row], to_grey(volume, examples.grey_low, examples.grey_high)
        )
    assert examples.pair_sample.shape == (0, 3, 8, 8)


def test_a_planted_copy_lies_on_its_box(sets):
    sets.generated.volumes[2] = aligned_box(sets.training.volumes[1], "y", (1, 0, -1))
    pair = ClosePair(sample="1/2", box="3/1", distance=0.0, ratio=0.0, rotation="y", shift_voxel=(1, 0, -1))
    examples = make_examples(sets, (pair,))
    np.testing.assert_array_equal(examples.pair_sample, examples.pair_box)
    low, high = examples.grey_low, examples.grey_high
    volume = sets.generated.volumes[2]
    for place, cut in enumerate((volume[4], volume[:, 4], volume[:, :, 4])):
        np.testing.assert_array_equal(examples.pair_sample[0, place], to_grey(cut, low, high))
