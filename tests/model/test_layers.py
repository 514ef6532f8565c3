"""Residual block, halving and doubling, each against what it must do by construction."""

import torch
from torch import nn
from torch.nn import functional as F

from frazil.model.layers import ConditionalResidualBlock, Double, Halve, SelfAttention


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


def test_scale_and_shift_start_as_none_and_then_act_after_the_second_norm():
    block = ConditionalResidualBlock(4, 4, 5, in_groups=1, out_groups=2, modulation="scale-shift")
    x, condition = torch.randn(2, 4, 4, 4, 4), torch.randn(2, 5)
    normed = block.norm2(block.conv1(F.silu(block.norm1(x))))
    torch.testing.assert_close(block(x, condition), x + block.conv2(F.silu(normed)))
    nn.init.normal_(block.cond_proj.weight)
    nn.init.normal_(block.cond_proj.bias)
    scale, shift = block.cond_proj(condition)[:, :, None, None, None].split(4, dim=1)
    torch.testing.assert_close(block(x, condition), x + block.conv2(F.silu(normed * (1 + scale) + shift)))


def test_attention_starts_as_the_identity_and_is_then_softmax_attention():
    attention = SelfAttention(8, heads=2, groups=4)
    x = torch.randn(2, 8, 2, 3, 4)
    assert torch.equal(attention(x), x)
    nn.init.normal_(attention.out.weight)
    query, key, value = attention.qkv(attention.norm(x)).flatten(2).chunk(3, dim=1)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = torch.softmax(torch.einsum("bcq,bck->bqk", query[:, head], key[:, head]) / 4**0.5, dim=-1)
        heads.append(torch.einsum("bqk,bck->bcq", weights, value[:, head]))
    expected = x + attention.out(torch.cat(heads, dim=1).view_as(x))
    torch.testing.assert_close(attention(x), expected, atol=1e-5, rtol=1e-5)


def test_attention_does_not_know_where_a_voxel_is():
    attention = SelfAttention(8, heads=4, groups=4)
    nn.init.normal_(attention.out.weight)
    x = torch.randn(1, 8, 3, 4, 2)
    order = torch.randperm(24)
    shuffled = attention(x.flatten(2)[..., order].view_as(x)).flatten(2)
    torch.testing.assert_close(shuffled, attention(x).flatten(2)[..., order], atol=1e-5, rtol=1e-5)


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
