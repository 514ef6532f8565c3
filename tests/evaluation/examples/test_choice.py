"""The examples of a report are drawn and not chosen, and its closest pairs lie on each other."""

import numpy as np
import pytest

from frazil.evaluation.examples.choice import PER_CLASS, make_examples
from frazil.evaluation.examples.files import to_grey
from frazil.evaluation.metrics.matching import aligned_box
from frazil.evaluation.scores import ClosePair
from frazil.evaluation.volumes import Sets, VolumeSet


def volumes(count, seed, labels=("a", "b"), edge=8):
    values = np.random.default_rng(seed).standard_normal((count * len(labels), edge, edge, edge)).astype(np.float32)
    names = tuple(f"{seed}/{row}" for row in range(len(values)))
    return VolumeSet(values, np.array(labels * count), names, 10.0)


@pytest.fixture
def sets():
    return Sets(volumes(9, 1), volumes(7, 2, labels=("a", "b", "c")), volumes(3, 3), seed=4)


def test_five_of_each_generated_class_are_drawn_by_the_seed(sets):
    examples = make_examples(sets, ())
    assert examples.generated_labels == ("a",) * PER_CLASS + ("b",) * PER_CLASS == examples.real_labels
    assert examples.generated_names != sets.generated.names[::2][:PER_CLASS] + sets.generated.names[1::2][:PER_CLASS]
    assert make_examples(sets, ()).generated_names == examples.generated_names
    for row, name in enumerate(examples.generated_names):
        volume = sets.generated.volumes[sets.generated.names.index(name)]
        np.testing.assert_array_equal(examples.generated[row], to_grey(volume, examples.grey_low, examples.grey_high))
    assert examples.pair_sample.shape == (0, 3, 8, 8)


def test_grey_values_are_those_of_the_held_out_boxes(sets):
    examples = make_examples(sets, ())
    low, high = np.percentile(sets.held_out.volumes, (0.5, 99.5))
    assert examples.grey_low == pytest.approx(low, abs=0.2)
    assert examples.grey_high == pytest.approx(high, abs=0.2)


def test_a_planted_copy_lies_on_its_box(sets):
    sets.generated.volumes[2] = aligned_box(sets.training.volumes[1], "y", (1, 0, -1))
    pair = ClosePair(sample="1/2", box="3/1", distance=0.0, ratio=0.0, rotation="y", shift_voxel=(1, 0, -1))
    examples = make_examples(sets, (pair,))
    np.testing.assert_array_equal(examples.pair_sample, examples.pair_box)
    low, high = examples.grey_low, examples.grey_high
    volume = sets.generated.volumes[2]
    for place, cut in enumerate((volume[4], volume[:, 4], volume[:, :, 4])):
        np.testing.assert_array_equal(examples.pair_sample[0, place], to_grey(cut, low, high))
