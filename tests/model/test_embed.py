"""The sinusoid against NumPy, the nulls of the condition, the two ways to join it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.records import NULL_LABEL, Condition
from frazil.model.embed import ConditionEmbedding, null_label_one_hot, sinusoid


@given(t=st.integers(0, 999), half=st.integers(2, 64))
def test_sinusoid_is_the_closed_form_with_sines_first(t, half):
    frequencies = np.exp(-np.log(10000) * np.arange(half) / (half - 1))
    expected = np.concatenate([np.sin(t * frequencies), np.cos(t * frequencies)])
    np.testing.assert_allclose(sinusoid(torch.tensor([t]), 2 * half)[0].numpy(), expected, atol=1e-4)


def test_sinusoid_tells_neighbouring_timesteps_apart_under_bf16():
    with torch.autocast("cpu", torch.bfloat16):
        embedded = sinusoid(torch.arange(1000), 128)
    assert embedded.dtype == torch.float32
    assert torch.cdist(embedded, embedded).fill_diagonal_(9).min() > 0.5


def test_null_label_is_a_row_of_zeros():
    assert null_label_one_hot(torch.tensor([2, -1, 0]), 3).tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("conditioning", ["concat", "sum"])
def test_without_label_all_classes_are_one_and_no_class_weight_matters(conditioning):
    embedding = ConditionEmbedding(3, 8, conditioning)
    t, position = torch.full((4,), 5), torch.full((4, 3), 0.3)
    condition = Condition(torch.tensor([0, 1, 2, NULL_LABEL]), position)
    null = embedding(t, condition.without_label())
    assert torch.equal(null, embedding(t, Condition(torch.full((4,), NULL_LABEL), position)))
    assert torch.equal(null, null[:1].expand_as(null))
    assert torch.equal(null[3], embedding(t, condition)[3])
    assert not torch.equal(null[0], embedding(t, condition)[0])
    torch.nn.init.normal_(embedding.label.weight)
    assert torch.equal(embedding(t, condition.without_label()), null)


@pytest.mark.parametrize("conditioning", ["concat", "sum"])
def test_the_three_parts_are_joined_as_named(conditioning):
    embedding = ConditionEmbedding(4, 16, conditioning)
    t, label, position = torch.tensor([7, 900]), torch.tensor([3, 0]), torch.rand(2, 3)
    time = embedding.time(sinusoid(t, 16))
    parts = [time, embedding.label(torch.eye(4)[label]), embedding.position(position)]
    expected = torch.cat(parts, dim=1) if conditioning == "concat" else sum(parts)
    joined = embedding(t, Condition(label, position))
    assert joined.shape == (2, embedding.out_width)
    torch.testing.assert_close(joined, expected)
    if conditioning == "concat":  # the paper: the time is not transformed
        torch.testing.assert_close(joined[:, :16], sinusoid(t, 16))


def test_null_position_contributes_nothing_and_its_gradient_is_finite():
    embedding = ConditionEmbedding(2, 8, "concat")
    position = torch.tensor([[0.1, 0.2, 0.3], [float("nan")] * 3, [0.5, float("nan"), 0.5]])
    joined = embedding(torch.zeros(3, dtype=torch.int64), Condition(torch.tensor([0, 0, 0]), position))
    assert joined[0, 16:].abs().max() > 0
    assert joined[1:, 16:].abs().max() == 0
    joined.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in embedding.parameters() if parameter.grad is not None)
