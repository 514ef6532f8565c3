"""The condition of a batch: parts of it, and the same without its label."""

import torch

from frazil.core.records import NULL_LABEL, Condition


def test_without_label_keeps_everything_but_the_label():
    condition = Condition(torch.tensor([0, 5, NULL_LABEL]), torch.rand(3, 3))
    null = condition.without_label()
    assert null.label.tolist() == [NULL_LABEL] * 3
    assert null.label.dtype == torch.int64
    assert torch.equal(null.position, condition.position)
    assert condition.label.tolist() == [0, 5, NULL_LABEL]
    assert len(null[:2]) == 2
