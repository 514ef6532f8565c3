"""The paper's network: published size and cost, boxes of any size, nulls, weights from one generator."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from frazil.errors import ShapeError
from frazil.model.unet import build_network, check_box_size, empty_network
from frazil.records import Condition
from frazil.settings import ModelSettings


@pytest.fixture(scope="module")
def network():
    return build_network(ModelSettings(base_channels=8, embedding_width=16), 3).eval()


def conditions(count):
    return Condition(torch.zeros(count, dtype=torch.int64), torch.full((count, 3), 0.5))


def test_sum_with_six_classes_has_the_published_number_of_parameters():
    network = empty_network(ModelSettings(conditioning="sum"), 6)
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_420_067


def test_concat_differs_from_sum_in_the_projections_and_the_time_mlp_alone():
    wide, narrow = (
        sum(parameter.numel() for parameter in empty_network(ModelSettings(conditioning=name), 6).parameters())
        for name in ("concat", "sum")
    )
    block_channels = 32 + 64 + 128 + 128 + 64 + 32 + 32
    assert wide - narrow == 2 * 128 * block_channels - 2 * (128 * 128 + 128)


def test_one_pass_over_a_64_voxel_box_costs_the_published_95_5_gflop():
    network = build_network(ModelSettings(conditioning="sum"), 6)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 16, 16, 16), torch.tensor([0]), conditions(1))
    operations = counter.get_flop_counts()["Global"]
    convolutions = sum(count for operation, count in operations.items() if "convolution" in str(operation))
    assert convolutions > 0.99 * sum(operations.values())
    assert 4**3 * convolutions / 1e9 == pytest.approx(95.5, abs=0.1)  # a convolution's cost grows with the voxels


def test_first_norm_has_one_group_and_all_others_eight():
    norms = {
        name: module.num_groups
        for name, module in empty_network(ModelSettings(), 6).named_modules()
        if isinstance(module, torch.nn.GroupNorm)
    }
    assert norms.pop("enc1.norm1") == 1
    assert set(norms.values()) == {8}
    assert len(norms) == 13


def test_any_box_that_halves_three_times_keeps_its_shape(network):
    for edges in [(8, 8, 8), (8, 16, 24)]:
        x = torch.randn(2, 1, *edges)
        assert network(x, torch.tensor([0, 999]), conditions(2)).shape == x.shape


def test_other_boxes_are_refused_with_the_edge_and_the_nearest_that_work(network, refuses):
    with refuses(ShapeError, "edge y = 20", "16 or 24"):
        network(torch.zeros(1, 1, 16, 20, 16), torch.tensor([0]), conditions(1))


@given(st.tuples(*[st.integers(1, 200)] * 3))
def test_check_box_size_accepts_multiples_of_eight_and_suggests_some(edges):
    if all(edge % 8 == 0 for edge in edges):
        check_box_size(edges)
    else:
        with pytest.raises(ShapeError) as caught:
            check_box_size(edges)
        for suggestion in str(caught.value).rpartition(": ")[2].split(" or "):
            check_box_size((int(suggestion),) * 3)


def test_the_output_depends_on_every_input(network):
    x, t, position = torch.randn(1, 1, 8, 8, 8), torch.tensor([500]), torch.full((1, 3), 0.5)
    variants = [
        (x, t, 0, position),
        (x, torch.tensor([400]), 0, position),
        (x, t, 1, position),
        (x, t, -1, position),
        (x, t, 0, torch.tensor([[0.5, 0.5, 0.6]])),
        (x, t, 0, torch.full((1, 3), float("nan"))),
        (-x, t, 0, position),
    ]
    with torch.no_grad():
        outputs = [network(x, t, Condition(torch.tensor([label]), place)) for x, t, label, place in variants]
    assert all(output.isfinite().all() for output in outputs)
    for first in range(len(outputs)):
        for second in range(first):
            assert not torch.equal(outputs[first], outputs[second])


def test_bf16_autocast_gives_float32_volumes_close_to_the_exact_ones(network):
    x, t = torch.randn(2, 1, 16, 16, 16), torch.tensor([10, 700])
    with torch.no_grad():
        exact = network(x, t, conditions(2))
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(x, t, conditions(2))
    assert rounded.dtype == torch.float32
    assert (rounded - exact).square().mean().sqrt() < 0.02 * exact.std()


def test_every_weight_takes_part_in_training():
    network = build_network(ModelSettings(base_channels=8, embedding_width=16, conditioning="sum"), 3)
    network(torch.randn(1, 1, 16, 16, 16), torch.tensor([5]), conditions(1)).square().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_weights_come_from_the_generator_and_never_from_global_state():
    settings = ModelSettings(base_channels=8, embedding_width=16)
    state = torch.get_rng_state()

    def weights(seed):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return torch.cat([p.flatten() for p in build_network(settings, 2, generator=generator).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert torch.equal(weights(None), weights(None))
    assert not torch.equal(weights(1), weights(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_are_spread_as_pytorch_spreads_them():
    network = build_network(ModelSettings(), 6)
    for layer, plain in [
        (network.enc2.conv1, torch.nn.Conv3d(32, 64, 3)),
        (network.up1.deconv, torch.nn.ConvTranspose3d(128, 128, 2, stride=2)),
        (network.bot.cond_proj, torch.nn.Linear(384, 128)),
    ]:
        assert layer.weight.shape == plain.weight.shape
        assert layer.weight.std().item() == pytest.approx(plain.weight.std().item(), rel=0.03)
        assert layer.weight.abs().max().item() == pytest.approx(plain.weight.abs().max().item(), rel=0.01)
        assert math.isclose(layer.bias.std().item(), plain.bias.std().item(), rel_tol=0.4)
    assert torch.equal(network.bot.norm1.weight, torch.ones(128))


def test_a_network_without_classes_is_refused(refuses):
    with refuses(ShapeError, "label count 0", "at least one class"):
        build_network(ModelSettings(), 0)
