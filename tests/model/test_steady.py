"""A volume is bitwise the same alone and in any batch."""

import pytest
import torch
from torch import nn

from frazil.model.steady import SteadyConv3d, SteadyConvTranspose3d, SteadyLinear, SteadySiLU
from frazil.model.unet import build_network
from frazil.records import Condition
from frazil.settings import ModelSettings


@pytest.fixture
def restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("restore_threads")
@pytest.mark.parametrize(
    ("base_channels", "edges", "precision"),
    [(8, (16, 16, 16), "float32"), (32, (8, 16, 24), "float32"), (16, (16, 16, 16), "bf16"), (8, (8, 8, 8), "bf16")],
)
def test_network_is_bitwise_independent_of_the_batch(base_channels, edges, precision):
    network = build_network(ModelSettings(base_channels=base_channels), 4)
    count = 4
    random = torch.Generator().manual_seed(0)
    x = torch.randn(count, 1, *edges, generator=random)
    condition = Condition(torch.tensor([0, 1, 3, -1]), torch.rand(count, 3, generator=random))
    t = torch.tensor([0, 3, 500, 999])
    if precision == "bf16":
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
