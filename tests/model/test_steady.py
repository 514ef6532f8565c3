"""A volume is bitwise the same alone and in any batch."""

import pytest
import torch
from torch import nn

from frazil.core.records import Condition
from frazil.core.settings import DiffusionSettings, ModelSettings
from frazil.model.layers import SelfAttention
from frazil.model.steady import ExactConv3d, SteadyConv3d, SteadyConvTranspose3d, SteadyLinear, SteadySiLU
from frazil.model.unet import build_network


@pytest.fixture
def restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def fast(base_channels, front_end="haar", preconditioning="edm", modulation="scale-shift", heads=4):
    return ModelSettings(
        base_channels=base_channels,
        front_end=front_end,
        preconditioning=preconditioning,
        modulation=modulation,
        attention_heads=heads,
    )


@pytest.mark.usefixtures("restore_threads")
@pytest.mark.parametrize(
    ("settings", "edges", "precision"),
    [
        (ModelSettings(base_channels=8), (16, 16, 16), "float32"),
        (ModelSettings(base_channels=32), (8, 16, 24), "float32"),
        (ModelSettings(base_channels=16), (16, 16, 16), "bf16"),
        (ModelSettings(base_channels=8), (8, 8, 8), "bf16"),
        (fast(16), (32, 32, 32), "float32"),
        (fast(32, heads=1), (16, 32, 48), "bf16"),
        (fast(8, "space-to-depth", "none", "bias", 2), (16, 16, 16), "float32"),
        (fast(32, heads=1), (16, 32, 48), "float32, channels last"),
        (fast(8, "space-to-depth", "none", "bias", 2), (16, 16, 16), "float32, channels last"),
    ],
)
def test_network_is_bitwise_independent_of_the_batch(settings, edges, precision):
    network = build_network(settings, 4, DiffusionSettings())
    for layer in network.modules():
        if getattr(layer, "starts_at_zero", False):
            nn.init.normal_(layer.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    count = 4
    random = torch.Generator().manual_seed(0)
    x = torch.randn(count, 1, *edges, generator=random)
    condition = Condition(torch.tensor([0, 1, 3, -1]), torch.rand(count, 3, generator=random))
    t = torch.tensor([0, 3, 500, 999])
    if precision != "float32":
        network = network.to(memory_format=torch.channels_last_3d)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        for threads in (1, 3):
            torch.set_num_threads(threads)
            together = network(x, t, condition)
            for size in (1, 3):
                slices = [slice(first, first + size) for first in range(0, count, size)]
                parts = [network(x[part], t[part], condition[part]) for part in slices]
                assert torch.equal(torch.cat(parts), together), (threads, size)


@pytest.mark.usefixtures("restore_threads")
def test_sixteen_volumes_are_computed_as_fifteen_and_one():
    network = build_network(ModelSettings(base_channels=8, embedding_width=16), 2)
    x = torch.randn(16, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    t, condition = torch.full((16,), 300), Condition(torch.arange(16) % 2, torch.linspace(0, 1, 48).view(16, 3))
    torch.set_num_threads(1)
    with torch.no_grad():
        parts = [network(x[part], t[part], condition[part]) for part in (slice(0, 15), slice(15, 16))]
        assert torch.equal(torch.cat(parts), network(x, t, condition))


@pytest.mark.usefixtures("restore_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("edges", [(4, 4, 4), (8, 8, 10)])
def test_attention_is_bitwise_independent_of_the_batch(dtype, edges):
    attention = SelfAttention(32, heads=4, groups=8)
    nn.init.normal_(attention.out.weight, generator=torch.Generator().manual_seed(0))
    x = torch.randn(6, 32, *edges, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        for threads in (1, 3):
            torch.set_num_threads(threads)
            together = attention(x)
            assert torch.equal(torch.cat([attention(x[:1]), attention(x[1:])]), together)


@pytest.mark.parametrize(
    ("steady", "plain", "shape"),
    [
        (SteadyConv3d(4, 6, kernel_size=3, padding=1), nn.Conv3d(4, 6, kernel_size=3, padding=1), (1, 4, 8, 8, 8)),
        (SteadyConv3d(4, 6, kernel_size=3, stride=2, padding=1), nn.Conv3d(4, 6, 3, 2, 1), (1, 4, 8, 8, 8)),
        (SteadyConv3d(4, 6, kernel_size=1), nn.Conv3d(4, 6, kernel_size=1), (3, 4, 5, 6, 7)),
        (SteadyConvTranspose3d(4, 4, 2, stride=2), nn.ConvTranspose3d(4, 4, 2, stride=2), (1, 4, 4, 4, 4)),
        (SteadyLinear(5, 7), nn.Linear(5, 7), (3, 5)),
        (SteadySiLU(), nn.SiLU(), (3, 4, 5, 6, 7)),
    ],
)
def test_layers_compute_what_the_plain_ones_do(steady, plain, shape):
    plain.load_state_dict(steady.state_dict())
    x = torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(steady(x), plain(x), atol=1e-5, rtol=1e-5)
    assert torch.equal(steady(x), plain(x))  # with gradients they are the plain layers


@pytest.mark.parametrize(("edge", "stride"), [(1, 2), (2, 1), (4, 2)])
def test_bf16_weight_gradients_of_tiny_boxes_are_those_of_float32(edge, stride):
    # without the detour through float32, most of these gradients are NaN where freed memory was
    conv = SteadyConv3d(16, 16, kernel_size=3, padding=1, stride=stride)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        x = torch.randn(7, 16, edge, edge, edge, generator=generator)
        (expected,) = torch.autograd.grad(conv(x).square().sum(), conv.weight)
        dirt = [torch.full((size,), float("nan")) for size in (10, 1000, 7000, 40_000, 300_000) for _ in range(4)]
        del dirt
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = conv(x)
        (gradient,) = torch.autograd.grad(y.float().square().sum(), conv.weight)
        assert torch.allclose(gradient, expected, atol=0.05 * float(expected.abs().max()))


@pytest.mark.parametrize("edge", [2, 12])
def test_the_exact_layer_gives_float32_and_the_gradients_of_bf16(edge):
    """Its result is that of float32; its gradients are off from those of float64 by what bf16 rounds, as autocast's are."""
    random = torch.Generator().manual_seed(0)
    layer = ExactConv3d(6, 3, kernel_size=3, padding=1)
    x = torch.randn(2, 6, edge, edge, edge, generator=random).bfloat16()
    upstream = torch.randn(2, 3, edge, edge, edge, generator=random)
    found = {}
    for kind in ("own", "autocast", "exact"):
        one = layer if kind == "own" else SteadyConv3d(6, 3, kernel_size=3, padding=1)
        one.load_state_dict(layer.state_dict())
        one = one.double() if kind == "exact" else one
        h = (x.double() if kind == "exact" else x.clone()).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind != "exact"):
            y = one(h)
        if kind == "own":
            assert y.dtype == torch.float32
            with torch.no_grad():
                torch.testing.assert_close(y, one(x.float()), rtol=1e-6, atol=1e-6)
        found[kind] = torch.autograd.grad(y, [h, one.weight, one.bias], upstream.to(y.dtype))
    for own, autocast, exact in zip(*found.values(), strict=True):
        assert own.dtype == autocast.dtype
        error, usual = ((other.double() - exact).norm() / exact.norm() for other in (own, autocast))
        assert error < max(0.004, 1.5 * usual)
    frozen = ExactConv3d(6, 3, kernel_size=3, padding=1).requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        h = x.clone().requires_grad_()
        frozen(h).sum().backward()
    assert h.grad is not None
    assert frozen.weight.grad is None
