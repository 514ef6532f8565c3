"""The step before a convolution: what it computes, and gradients of its own against numerical ones and autograd's."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from frazil.model.activation import _NormSiLU, norm_silu


def ingredients(modulated, *, dtype=torch.float64, shape=(2, 4, 3, 2, 4), offset=0.0):
    """Return a norm, a volume, and factor and shift (or none)."""
    random = torch.Generator().manual_seed(0)
    norm = nn.GroupNorm(2, 4)
    for parameter in norm.parameters():
        nn.init.normal_(parameter, generator=random)
    x = (torch.randn(shape, generator=random) + offset).to(dtype).requires_grad_()
    parts = [torch.randn(2, 4, 1, 1, 1, generator=random).to(dtype).requires_grad_() for _ in range(2 * modulated)]
    return norm, x, parts


def plain(norm, x, factor=None, shift=None):
    z = norm(x)
    return F.silu(z if factor is None else z * factor + shift)


@pytest.mark.parametrize("modulated", [False, True])
def test_it_is_norm_then_factor_and_shift_then_silu(modulated):
    norm, x, parts = ingredients(modulated, dtype=torch.float32)
    expected = plain(norm, x, *parts)
    torch.testing.assert_close(norm_silu(norm, x, *parts), expected)
    with torch.no_grad():
        torch.testing.assert_close(norm_silu(norm, x, *parts), expected)


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_its_own_gradients_are_numerical_ones(modulated, layout):
    norm, x, parts = ingredients(modulated)
    norm = norm.double()
    x = x.detach().to(memory_format=layout).requires_grad_()
    factor, shift = parts or (None, None)

    def step(x, weight, bias, factor=None, shift=None):
        return _NormSiLU.apply(x, weight, bias, factor, shift, 2, 1e-5)

    assert torch.autograd.gradcheck(step, (x, norm.weight, norm.bias, *parts))
    torch.testing.assert_close(step(x, norm.weight, norm.bias, factor, shift), plain(norm, x, *parts))


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_bf16_gradients_are_as_close_as_autograds(modulated, offset):
    gradients = {}
    for name, step, dtype in [
        ("exact", plain, torch.float64),
        ("autograd", plain, torch.bfloat16),
        ("own", norm_silu, torch.bfloat16),
    ]:
        norm, x, parts = ingredients(modulated, dtype=torch.bfloat16, shape=(2, 4, 16, 16, 16), offset=offset)
        if dtype == torch.float64:
            norm, x, parts = norm.double(), x.double(), [part.double() for part in parts]
        y = step(norm, x, *parts)
        assert y.dtype == dtype
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16).to(dtype)
        gradients[name] = torch.autograd.grad(y, [x, *norm.parameters(), *parts], weights)
    for own, autograd, exact in zip(gradients["own"], gradients["autograd"], gradients["exact"], strict=True):
        assert own.dtype == autograd.dtype
        error, usual = ((other.double() - exact).norm() / exact.norm() for other in (own, autograd))
        assert error < max(0.01, 1.5 * usual)


def test_in_bf16_it_keeps_its_input_alone():
    norm, x, parts = ingredients(True, dtype=torch.bfloat16, shape=(2, 4, 8, 8, 8))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        norm_silu(norm, x, *parts)
    assert [tensor.data_ptr() for tensor in kept if tensor.numel() >= x.numel()] == [x.data_ptr()]
