"""The paper's network: published size and cost, boxes of any size, nulls, weights from one generator."""

import math
from contextlib import nullcontext
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from frazil.core.errors import ShapeError
from frazil.core.presets import load_preset
from frazil.core.records import Condition
from frazil.core.settings import DiffusionSettings, ModelSettings
from frazil.model.unet import MODULES, build_network, check_box_size, empty_network, freeze, part_of

EVERYTHING = ModelSettings(
    base_channels=8,
    embedding_width=16,
    channel_multipliers=(1, 2),
    front_end="haar",
    band_std=(2.5, 0.8, 0.8, 0.3, 0.8, 0.3, 0.3, 0.06),
    preconditioning="edm",
    modulation="scale-shift",
    attention_heads=2,
)
"""All that the paper does not have."""


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


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        (load_preset("paper").model, (1, 1)),
        (ModelSettings(), (1, 8)),  # also what a card without the setting says
        (ModelSettings(groups=4), (1, 4)),
        (load_preset("fast").model, (8, 8)),
        (ModelSettings(front_end="haar", first_block_groups=2), (8, 2)),
    ],
)
def test_the_first_block_has_its_own_groups(settings, first):
    network = empty_network(settings, 6, DiffusionSettings())
    norms = {name: part.num_groups for name, part in network.named_modules() if isinstance(part, torch.nn.GroupNorm)}
    assert (norms.pop("enc1.norm1"), norms.pop("enc1.norm2")) == first
    assert set(norms.values()) == {settings.groups}
    assert len(norms) == 12


def test_any_box_that_halves_three_times_keeps_its_shape(network):
    for edges in [(8, 8, 8), (8, 16, 24)]:
        x = torch.randn(2, 1, *edges)
        assert network(x, torch.tensor([0, 999]), conditions(2)).shape == x.shape


def test_other_boxes_are_refused_with_the_edge_and_the_nearest_that_work(network, refuses):
    with refuses(ShapeError, "edge y = 20", "16 or 24"):
        network(torch.zeros(1, 1, 16, 20, 16), torch.tensor([0]), conditions(1))


@pytest.mark.parametrize(
    ("settings", "multiple"),
    [
        (ModelSettings(), 8),
        (ModelSettings(channel_multipliers=(1, 2, 4, 4)), 16),
        (ModelSettings(front_end="haar"), 16),
        (ModelSettings(front_end="space-to-depth", channel_multipliers=(1, 2, 2, 4)), 32),
    ],
)
def test_boxes_of_the_usual_sizes_fit_and_the_message_names_the_multiple(settings, multiple, refuses):
    for edge in (32, 64, 96, 128):
        check_box_size([edge] * 3, settings)
    with refuses(
        ShapeError, "box edge z = 100", f"not a multiple of {multiple}", f"halves it {settings.halvings} times"
    ):
        check_box_size((100, 64, 64), settings)


@given(st.tuples(*[st.integers(1, 200)] * 3))
def test_check_box_size_accepts_multiples_of_eight_and_suggests_some(edges):
    if all(edge % 8 == 0 for edge in edges):
        check_box_size(edges, ModelSettings())
    else:
        with pytest.raises(ShapeError) as caught:
            check_box_size(edges, ModelSettings())
        for suggestion in str(caught.value).rpartition(": ")[2].split(" or "):
            check_box_size((int(suggestion),) * 3, ModelSettings())


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


def flop(settings, edge):
    """Count on the meta device, where nothing is computed."""
    network = empty_network(settings, 6, DiffusionSettings())
    condition = Condition(torch.zeros(1, dtype=torch.int64, device="meta"), torch.zeros(1, 3, device="meta"))
    with (
        FlopCounterMode(display=False) as counter,
        torch.device("meta"),
        patch("torch.autocast", lambda *_, **__: nullcontext()),  # which the meta device does not know
    ):
        network(torch.zeros(1, 1, edge, edge, edge), torch.zeros(1, dtype=torch.int64), condition)
    return sum(counter.get_flop_counts()["Global"].values())


def test_a_front_end_makes_a_pass_eight_times_cheaper():
    assert flop(ModelSettings(), 64) / flop(ModelSettings(front_end="haar"), 64) == pytest.approx(8, rel=0.08)


@pytest.mark.parametrize("front_end", ["none", "haar", "space-to-depth"])
@pytest.mark.parametrize("preconditioning", ["none", "edm", "inverse-variance"])
def test_a_network_that_says_nothing_passes_what_its_scales_say(front_end, preconditioning):
    settings = ModelSettings(base_channels=8, embedding_width=8, front_end=front_end, preconditioning=preconditioning)
    network = build_network(settings, 2, DiffusionSettings())
    for parameter in network.out_conv.parameters():
        torch.nn.init.zeros_(parameter)
    x_t = torch.randn(3, 1, 16, 16, 16)
    with torch.no_grad():
        x0_hat = network(x_t, torch.tensor([0, 400, 999]), conditions(3))
    abar = torch.cumprod(1 - torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64), 0)[[0, 400, 999]]
    skips = {
        "none": torch.zeros(3),
        "edm": abar.sqrt(),
        "inverse-variance": abar.sqrt() * 0.018**2 / (abar * 0.018**2 + 1 - abar),
    }
    skip = skips[preconditioning].float()
    torch.testing.assert_close(x0_hat, skip[:, None, None, None, None] * x_t)
    if preconditioning == "edm":  # with hardly any noise the volume passes, from pure noise nothing does
        assert (x0_hat[0] - x_t[0]).abs().max() < 1e-3
        assert x0_hat[2].abs().max() < 0.05


def test_the_deviation_of_a_band_scales_what_the_network_says_of_it():
    faint = ModelSettings(base_channels=8, embedding_width=8, front_end="haar", band_std=(1,) * 7 + (0.01,))
    network = build_network(faint, 2)
    torch.nn.init.zeros_(network.out_conv.weight)
    torch.nn.init.ones_(network.out_conv.bias)
    with torch.no_grad():
        bands = network.front_end.split(network(torch.randn(1, 1, 16, 16, 16), torch.tensor([5]), conditions(1)))
    expected = torch.tensor([1.0] * 7 + [0.01])[None, :, None, None, None].expand_as(bands)
    torch.testing.assert_close(bands, expected, atol=1e-6, rtol=1e-4)


def everything(**changes):
    """Return the network with all options, none of whose parts is still at zero."""
    settings = EVERYTHING.model_copy(update=changes)
    network = build_network(settings, 3, DiffusionSettings())
    random = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if getattr(layer, "starts_at_zero", False):
            torch.nn.init.normal_(layer.weight, std=0.2, generator=random)
    return network


def test_parts_that_start_at_zero_do_and_all_others_are_drawn():
    network = build_network(EVERYTHING, 3, DiffusionSettings())
    zero = {name for name, parameter in network.named_parameters() if not parameter.any()}
    norms = {name for name in zero if "norm" in name and name.endswith("bias")}
    modulations = {f"{block}.cond_proj" for block in ("enc1", "enc2", "bot", "dec1", "dec2")}
    assert zero - norms == {f"{name}.{kind}" for name in {*modulations, "attention.out"} for kind in ("weight", "bias")}


def test_all_options_together_keep_shape_and_use_every_weight():
    network = everything()
    x_t = torch.randn(2, 1, 16, 8, 24)
    x0_hat = network(x_t, torch.tensor([5, 700]), Condition(torch.tensor([0, -1]), torch.rand(2, 3)))
    assert x0_hat.shape == x_t.shape
    x0_hat.square().mean().backward()
    unused = {name for name, parameter in network.named_parameters() if not parameter.grad.abs().max() > 0}
    assert not unused


def test_all_options_together_are_close_in_bf16():
    network = everything().to(memory_format=torch.channels_last_3d)
    x_t, t = torch.randn(3, 1, 16, 16, 16), torch.tensor([3, 300, 900])
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            exact = network(x_t, t, conditions(3))
            with torch.autocast("cpu", torch.bfloat16):
                rounded = network(x_t, t, conditions(3))
        assert rounded.dtype == torch.float32
        assert rounded.isfinite().all()
        assert (rounded - exact).square().mean().sqrt() < 0.03 * exact.std()


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_checkpointed_gradients_are_the_plain_ones(precision):
    network = everything()
    x_t, t = torch.randn(2, 1, 16, 16, 16), torch.tensor([5, 700])
    gradients = {}
    state = torch.get_rng_state()
    for network.checkpoint_activations in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            x0_hat = network(x_t, t, conditions(2))
        x0_hat.square().mean().backward()
        gradients[network.checkpoint_activations] = [parameter.grad for parameter in network.parameters()]
    for plain, recomputed in zip(gradients[False], gradients[True], strict=True):
        assert torch.equal(plain, recomputed)
    assert torch.equal(torch.get_rng_state(), state)


def kept_for_the_gradients(network):
    """Return how many numbers autograd keeps."""
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.setdefault(x.data_ptr(), x), lambda x: x):
        network(torch.randn(1, 1, 16, 16, 16), torch.tensor([5]), conditions(1))
    parameters = {parameter.data_ptr() for parameter in network.parameters()}
    return sum(tensor.numel() for pointer, tensor in kept.items() if pointer not in parameters)


def test_checkpoints_keep_less():
    network = everything()
    whole = kept_for_the_gradients(network)
    network.checkpoint_activations = True
    assert kept_for_the_gradients(network) < 0.5 * whole


@pytest.mark.parametrize("name", ["paper", "fast"])
def test_every_weight_belongs_to_a_part_and_frozen_parts_have_no_gradient(name):
    preset = load_preset(name, {"model.attention_heads": 4})
    network = build_network(preset.model, 2, preset.diffusion)
    assert {part_of(name) for name, _ in network.named_parameters()} == set(MODULES)
    freeze(network, ["encoder", "bottleneck"])
    frozen = {name.split(".")[0] for name, weight in network.named_parameters() if not weight.requires_grad}
    assert frozen == {"enc1", "enc2", "enc3", "down1", "down2", "down3", "bot", "attention"}
    freeze(network, [])
    assert all(weight.requires_grad for weight in network.parameters())
