"""Names of precision and memory format, and what they do to a network."""

import pytest
import torch

from frazil.core.settings import ModelSettings, TrainingSettings
from frazil.model.compute import Compute, native_precision
from frazil.model.unet import build_network


@pytest.mark.parametrize(
    ("precision", "memory_format", "expected"),
    [
        ("32-true", None, Compute("32-true", "contiguous")),
        ("bf16-mixed", None, Compute("bf16-mixed", "channels-last")),
        ("bf16-mixed", "contiguous", Compute("bf16-mixed", "contiguous")),
    ],
)
def test_a_memory_format_that_is_not_named_is_the_one_that_suits(precision, memory_format, expected):
    assert Compute.of(TrainingSettings(precision=precision, memory_format=memory_format)) == expected


def test_what_is_open_is_not_guessed():
    with pytest.raises(ValueError, match="decide it first"):
        Compute.of(TrainingSettings(precision="auto"))


@pytest.mark.parametrize(
    ("capability", "precision"),
    [(None, "32-true"), ("cpu._is_avx512_bf16_supported", "bf16-mixed"), ("cpu._is_amx_tile_supported", "bf16-mixed")],
)
def test_a_cpu_takes_bf16_where_it_has_instructions_for_it(monkeypatch, capability, precision):
    for name in ("cpu._is_avx512_bf16_supported", "cpu._is_amx_tile_supported"):
        monkeypatch.setattr(f"torch.{name}", lambda name=name: name == capability)
    assert native_precision("cpu") == precision


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_gpu_takes_bf16_where_it_is_not_emulated(monkeypatch, native, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert native_precision("cuda") == precision


def test_the_weights_change_their_order_in_memory_and_not_their_values():
    network = build_network(ModelSettings(base_channels=8, channel_multipliers=(1,)), 2)
    weight = network.enc1.conv2.weight
    before = weight.detach().clone()
    Compute("32-true", "channels-last").lay_out(network)
    assert network.enc1.conv2.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(network.enc1.conv2.weight, before)
    Compute("32-true", "contiguous").lay_out(network)
    assert network.enc1.conv2.weight.is_contiguous()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_autocast_is_that_of_the_device(device, precision, monkeypatch):
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    with Compute.named(precision).autocast(device) as context:
        assert context.device == device
        assert torch.is_autocast_enabled("cpu") == (device == "cpu" and precision == "bf16-mixed")
    assert context.fast_dtype == torch.bfloat16


def test_its_name_says_what_is_unusual():
    assert str(Compute.named("bf16-mixed")) == "bf16-mixed"
    assert str(Compute("32-true", "channels-last")) == "32-true channels-last"
