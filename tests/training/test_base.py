"""Weights that a training begins with: shared layers to the bit, known classes in their new places, new classes fresh."""

import pytest
import torch

from frazil.core.records import Condition
from frazil.core.settings import ModelSettings
from frazil.model.unet import build_network
from frazil.training.base import Base

SETTINGS = ModelSettings(base_channels=8, embedding_width=8, front_end="haar")


@pytest.fixture
def trained():
    network = build_network(SETTINGS, 3, generator=torch.Generator().manual_seed(5))
    network.front_end.std.copy_(torch.arange(1.0, 9.0))
    return network.eval()


def test_classes_move_to_their_new_numbers_and_everything_else_stays(trained):
    fresh = build_network(SETTINGS, 4, generator=torch.Generator().manual_seed(6)).eval()
    before = fresh.embed.label.weight.clone()
    Base(trained, columns=[2, None, 0, 0]).put_into(fresh)
    weight = fresh.embed.label.weight
    assert torch.equal(weight[:, 0], trained.embed.label.weight[:, 2])
    assert torch.equal(weight[:, 1], before[:, 1])
    assert torch.equal(weight[:, 2], trained.embed.label.weight[:, 0])
    assert torch.equal(fresh.front_end.std, trained.front_end.std)

    x, t, position = torch.randn(2, 1, 16, 16, 16), torch.tensor([3, 700]), torch.rand(2, 3)
    with torch.no_grad():
        old = trained(x, t, Condition(torch.tensor([2, 0]), position))
        new = fresh(x, t, Condition(torch.tensor([0, 3]), position))
    assert torch.equal(old, new)


def test_the_trained_network_keeps_its_own_weights(trained):
    state = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    fresh = build_network(SETTINGS, 2)
    Base(trained, columns=[0, 1]).put_into(fresh)
    with torch.no_grad():
        for weight in fresh.parameters():
            weight.zero_()
    assert all(torch.equal(tensor, state[name]) for name, tensor in trained.state_dict().items())
