"""Residual block, halving and doubling, each against what it must do by construction."""

import torch
from torch import nn

from frazil.model.layers import ConditionalResidualBlock, Double, Halve


def test_block_without_second_convolution_is_its_residual_path():
    x, condition = torch.randn(2, 8, 4, 4, 4), torch.randn(2, 5)
    for out_channels in (8, 16):
        block = ConditionalResidualBlock(8, out_channels, 5, in_groups=4, out_groups=8)
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)
        torch.testing.assert_close(block(x, condition), block.skip(x))


def test_block_of_equal_channels_has_an_identity_without_parameters():
    block = ConditionalResidualBlock(8, 8, 5, in_groups=4, out_groups=8)
    assert not list(block.skip.parameters())


def test_condition_is_a_bias_a_channel_before_the_second_norm():
    # Without any signal the norm sees the condition alone: constant in space, and so gone within a group of one channel,
    # but not within a group of several.
    x = torch.zeros(1, 4, 4, 4, 4)
    condition = torch.randn(1, 5)
    outputs = {}
    for groups in (1, 4):
        torch.manual_seed(0)
        block = ConditionalResidualBlock(4, 4, 5, in_groups=1, out_groups=groups)
        for layer in (block.conv1, block.conv2):
            nn.init.zeros_(layer.bias)
        outputs[groups] = block(x, condition)
    assert outputs[4].abs().max() < 1e-5
    assert outputs[1].abs().max() > 1e-2


def test_halve_and_double_change_the_edges_only():
    x = torch.randn(1, 3, 8, 4, 6)
    assert Halve(3)(x).shape == (1, 3, 4, 2, 3)
    assert Double(3)(x).shape == (1, 3, 16, 8, 12)


def test_double_writes_each_voxel_to_its_own_cube():
    double = Double(1)
    nn.init.zeros_(double.deconv.bias)
    delta = torch.zeros(1, 1, 2, 2, 2)
    delta[0, 0, 1, 0, 1] = 1
    (places,) = [set(map(tuple, double(delta)[0, 0].nonzero().tolist()))]
    assert places == {(z, y, x) for z in (2, 3) for y in (0, 1) for x in (2, 3)}
