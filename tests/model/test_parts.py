"""Every weight of a network belongs to one part, and frozen parts alone have no gradient."""

import pytest

from frazil.core.presets import load_preset
from frazil.model.parts import MODULES, freeze, part_of
from frazil.model.unet import build_network


@pytest.fixture(params=["paper", "fast"])
def network(request):
    preset = load_preset(request.param, {"model.attention_heads": 4})
    return build_network(preset.model, 2, preset.diffusion)


def test_every_weight_has_a_part_and_every_part_a_weight(network):
    assert {part_of(name) for name, _ in network.named_parameters()} == set(MODULES)


def test_parts_are_frozen_and_thawed(network):
    freeze(network, ["encoder", "bottleneck"])
    frozen = {name for name, weight in network.named_parameters() if not weight.requires_grad}
    assert {name.split(".")[0] for name in frozen} == {
        "enc1",
        "enc2",
        "enc3",
        "down1",
        "down2",
        "down3",
        "bot",
        "attention",
    }
    freeze(network, [])
    assert all(weight.requires_grad for weight in network.parameters())
