"""The loss of a picker against closed forms."""

import math

import pytest
import torch

from frazil.proof.training import picker_loss


def test_the_loss_is_cross_entropy_and_the_dice_of_the_classes_that_are_shown():
    classes = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    nothing_known = torch.zeros(1, 3, 4, 4, 4)
    assert picker_loss(nothing_known, classes).item() == pytest.approx(math.log(3))
    classes[0, 0, 0, :2] = 1
    dice = 2 * (2 / 3) / (64 / 3 + 2)  # each of the 64 voxels is said to be the class to a third, and two are
    assert picker_loss(nothing_known, classes).item() == pytest.approx(math.log(3) + 1 - dice)
    right = 40 * torch.nn.functional.one_hot(classes, 3).movedim(-1, 1).float()
    assert picker_loss(right, classes).item() == pytest.approx(0, abs=1e-6)
