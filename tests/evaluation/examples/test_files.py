"""Examples come back as they were written, and what is no examples file is refused in one line."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import SourceError
from frazil.evaluation.examples.files import Examples, read_examples, to_grey, write_examples


@pytest.fixture
def examples():
    random = np.random.default_rng(0)
    return Examples(
        generated=random.integers(0, 256, (2, 4, 4, 4), dtype=np.uint8),
        generated_names=("ribosome-00000", "β-amylase-00001"),
        generated_labels=("ribosome", "β-amylase"),
        real=random.integers(0, 256, (1, 4, 4, 4), dtype=np.uint8),
        real_names=("TS_1 box 3",),
        real_labels=("ribosome",),
        pair_sample=np.zeros((0, 3, 4, 4), dtype=np.uint8),
        pair_box=np.zeros((0, 3, 4, 4), dtype=np.uint8),
        grey_low=-5.5,
        grey_high=3.25,
    )


def test_round_trip(examples, tmp_path):
    write_examples(tmp_path / "examples.npz", examples)
    found = read_examples(tmp_path / "examples.npz")
    for name in ("generated", "real", "pair_sample", "pair_box"):
        np.testing.assert_array_equal(getattr(found, name), getattr(examples, name))
        assert getattr(found, name).dtype == np.uint8
    for name in ("generated_names", "generated_labels", "real_names", "real_labels", "grey_low", "grey_high"):
        assert getattr(found, name) == getattr(examples, name)


def test_nothing_is_pickled_and_the_same_examples_give_the_same_bytes(examples, tmp_path):
    write_examples(tmp_path / "one.npz", examples)
    write_examples(tmp_path / "two.npz", examples)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


def test_no_names_come_back_as_no_names(examples, tmp_path):
    none = replace(examples, real=examples.real[:0], real_names=(), real_labels=())
    write_examples(tmp_path / "examples.npz", none)
    assert read_examples(tmp_path / "examples.npz").real_names == ()


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
    with refuses(SourceError, str(path), "this is no frazil examples"):
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
    np.savez(path, **(arrays | {"real": arrays["real"].astype(np.float32)}))
    with refuses(SourceError, str(path), "float32", "uint8"):
        read_examples(path)
    np.savez(path, **(arrays | {"real_labels": np.array(["a", "b"])}))
    with refuses(SourceError, str(path), "differ in number"):
        read_examples(path)
