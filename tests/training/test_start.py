"""`frazil train --from`: what a training takes over from a bundle, what it adds, and what it refuses."""

import json

import pytest
import torch

from frazil.model.bundle import load_bundle, save_bundle
from frazil.model.unet import build_network

TINY = [
    *("--preset", "smoke", "--epochs", "1", "--batch-size", "4", "--accelerator", "cpu"),
    *("--set", "model.base_channels=8", "--set", "model.embedding_width=8", "--set", "diffusion.timesteps=20"),
]
GOES_ON = TINY[:8]
"""The same without what belongs to the network."""


@pytest.fixture
def store(real_boxes):
    """Boxes of 8^3 voxels: apo-ferritin and ribosome."""
    return real_boxes


@pytest.fixture
def frazil(run):
    """The command line, under a name that leaves ``run`` to the folder of a training."""
    return run


@pytest.fixture
def base(frazil, store, tmp_path):
    """A bundle of the store's own classes, and a third: the tail of its names, as if it had been trained elsewhere."""
    code, _, err = frazil("train", store, "--out", tmp_path / "base", *TINY)
    assert code == 0, err
    bundle = load_bundle(tmp_path / "base" / "bundle")
    state = bundle.network.state_dict()
    weight = state["embed.label.weight"]
    state["embed.label.weight"] = torch.cat([torch.full_like(weight[:, :1], 0.5), weight], dim=1)
    labels = ("actin", *bundle.card.labels)
    card = bundle.card.model_copy(update={"labels": labels, "radius_angstrom": {"actin": 35.0}})

    class Wider(torch.nn.Module):
        def state_dict(self, *args, **kwargs):
            return state

    save_bundle(tmp_path / "wider", Wider(), card)
    return tmp_path / "wider"


def untouched(frazil, store, base, run, *options):
    """Train for one epoch at a learning rate of nothing, so that the weights stay those that it began with."""
    code, out, err = frazil(
        "train", store, "--out", run, *GOES_ON, "--learning-rate", "1e-30", "--ema", "0", "--from", base, *options
    )
    assert code == 0, err
    return load_bundle(run / "bundle"), out


def test_shared_layers_and_known_classes_are_those_of_the_bundle(frazil, store, base, tmp_path):
    bundle, out = untouched(frazil, store, base, tmp_path / "run")
    origin = load_bundle(base)
    assert f"begins with the weights of smoke {origin.digest[7:19]}" in out
    assert bundle.card.labels == ("apo-ferritin", "ribosome")
    assert bundle.card.base_digest == origin.digest
    assert "began with the weights of" in bundle.card.provenance
    assert bundle.card.preset.model == origin.card.preset.model
    assert "actin" not in bundle.card.radius_angstrom
    for name, tensor in origin.network.state_dict().items():
        expected = tensor[:, 1:] if name == "embed.label.weight" else tensor
        torch.testing.assert_close(bundle.network.state_dict()[name], expected, atol=1e-9, rtol=0)


def test_classes_are_kept_on_request_and_new_ones_begin_as_old_ones(frazil, store, base, tmp_path):
    kept, _ = untouched(frazil, store, base, tmp_path / "kept", "--keep-classes")
    assert kept.card.labels == ("actin", "apo-ferritin", "ribosome")
    assert kept.card.radius_angstrom["actin"] == 35.0
    torch.testing.assert_close(
        kept.network.state_dict()["embed.label.weight"][:, 0], torch.full((8,), 0.5), atol=1e-9, rtol=0
    )
    like, out = untouched(frazil, store, base, tmp_path / "like", "--class-from", "ribosome=actin")
    assert "ribosome begins as actin" in out
    torch.testing.assert_close(
        like.network.state_dict()["embed.label.weight"][:, 1], torch.full((8,), 0.5), atol=1e-9, rtol=0
    )


def test_a_class_that_the_bundle_does_not_know_begins_anew(frazil, store, base, tmp_path):
    card = json.loads((base / "bundle.json").read_text())
    card["labels"] = ["actin", "apo-ferritin", "80S"]
    (base / "bundle.json").write_text(json.dumps(card))
    bundle, out = untouched(frazil, store, base, tmp_path / "run")
    assert "new: ribosome" in out
    weight = load_bundle(base).network.state_dict()["embed.label.weight"]
    found = bundle.network.state_dict()["embed.label.weight"]
    torch.testing.assert_close(found[:, 0], weight[:, 1], atol=1e-9, rtol=0)
    assert all((found[:, 1] - weight[:, number]).abs().max() > 1e-3 for number in range(3))


def test_frozen_parts_stay_and_the_others_learn(frazil, store, base, tmp_path):
    run = tmp_path / "run"
    frozen = ["--freeze", "encoder", "--freeze", "bottleneck"]
    code, _, err = frazil("train", store, "--out", run, *GOES_ON, "--learning-rate", "0.01", "--from", base, *frozen)
    assert code == 0, err
    before, after = load_bundle(base).network.state_dict(), load_bundle(run / "bundle").network.state_dict()
    for name, tensor in before.items():
        still = name.startswith(("enc", "down", "bot"))
        if name != "embed.label.weight":
            assert torch.equal(tensor, after[name]) == still, name
    code, out, err = frazil(
        "train", store, "--out", run, *GOES_ON, "--learning-rate", "0.01", "--from", base, *frozen, "--epochs", "2"
    )
    assert code == 0, err
    assert "epoch 2/2" in out


def test_another_base_is_another_run(frazil, store, base, tmp_path):
    untouched(frazil, store, base, tmp_path / "run")
    for options in (["--from", tmp_path / "base"], ["--from", base, "--keep-classes"]):
        still = ("--learning-rate", "1e-30", "--ema", "0")
        code, _, err = frazil("train", store, "--out", tmp_path / "run", *GOES_ON, *still, *options)
        assert code == 2
        assert "another --from" in err


def test_what_does_not_match_is_refused_in_one_line(frazil, store, base, tmp_path):
    def refused(*options, parts, folder=base):
        code, _, err = frazil("train", store, "--out", tmp_path / "run", *GOES_ON, *options)
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        for part in parts:
            assert part in err
        assert not (tmp_path / "run").exists()

    start = ("--from", base)
    refused(*start, "--class-from", "ribosome=80S", parts=["ribosome=80S", "no class 80S", "actin, apo-ferritin"])
    refused(*start, "--class-from", "virus=actin", parts=["virus=actin", "the store has no class virus"])
    refused(*start, "--class-from", "ribosome", parts=["not of the form NEW=OLD"])
    refused(*start, "--keep-classes", "--class-from", "ribosome=actin", parts=["--keep-classes keeps ribosome"])
    refused(*start, "--set", "model.base_channels=16", parts=["model.base_channels=16", "leave it out"])
    refused(*start, "--freeze", "head", parts=["freeze", "head", "encoder"])
    refused("--keep-classes", parts=["--keep-classes", "--from BUNDLE"])
    refused("--from", tmp_path / "nowhere", parts=["nowhere", "no bundle"])
    refused(*start, "--box", "16", parts=[str(store), "box_size_voxel 16 in boxes of 8", "--box 8"])
    parts = ["embedding", "encoder", "bottleneck", "decoder", "output"]
    refused(*start, *[f"--freeze={part}" for part in parts], parts=["nothing would be trained"])

    card = json.loads((base / "bundle.json").read_text())
    (base / "bundle.json").write_text(json.dumps(card | {"voxel_size_angstrom": 13.5}))
    refused(*start, parts=["13.500 A", "10.012", "--resample-to 13.500", "--other-voxel-size"])
    code, _, err = frazil("train", store, "--out", tmp_path / "run", *GOES_ON, *start, "--other-voxel-size")
    assert code == 0, err


def test_the_volume_can_be_let_past_a_trained_network_and_nothing_else_changes_in_it(frazil, store, base, tmp_path):
    asked = ("--set", "model.preconditioning=inverse-variance")
    bundle, _ = untouched(frazil, store, base, tmp_path / "past", *asked)
    before, settings = load_bundle(base), bundle.card.preset.model
    assert settings == before.card.preset.model.model_copy(update={"preconditioning": "inverse-variance"})
    weights = before.network.state_dict()
    assert all(
        torch.equal(weights[name], tensor)
        for name, tensor in bundle.network.state_dict().items()
        if "label" not in name
    )

    again, _ = untouched(frazil, store, tmp_path / "past", tmp_path / "again")  # without a word it stays
    assert again.card.preset.model == settings

    edm = before.card.preset.model_copy(update={"model": settings.model_copy(update={"preconditioning": "edm"})})
    network = build_network(edm.model, len(before.card.labels), edm.diffusion)
    save_bundle(tmp_path / "edm", network, before.card.model_copy(update={"preset": edm}))
    code, _, err = frazil("train", store, "--out", tmp_path / "run", *GOES_ON, "--from", tmp_path / "edm", *asked)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "model.preconditioning=inverse-variance: the bundle to begin with has edm" in err
    assert not (tmp_path / "run").exists()


def test_a_box_that_the_network_of_the_bundle_cannot_halve_is_refused(frazil, store, base, tmp_path):
    card = load_bundle(base).card
    preset = card.preset
    haar = preset.model_copy(update={"model": preset.model.model_copy(update={"front_end": "haar"})})
    network = build_network(haar.model, len(card.labels), haar.diffusion)
    save_bundle(tmp_path / "haar", network, card.model_copy(update={"preset": haar, "box_size_voxel": 16}))
    code, _, err = frazil("train", store, "--out", tmp_path / "run", *GOES_ON, "--from", tmp_path / "haar")
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    for part in (str(store), "box edge z = 8", "multiple of 16", "--box"):
        assert part in err
    assert not (tmp_path / "run").exists()


def test_the_edge_that_the_network_of_a_bundle_takes_is_named_and_no_other_network(
    frazil, base, make_box_store, tmp_path
):
    boxes = make_box_store(box=16, name="larger")
    for more, edge in (["--half-turns"], 8), ([], 16):
        code, _, err = frazil("train", boxes, "--out", tmp_path / "run", *GOES_ON, "--from", base, "--box", "12", *more)
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        assert "multiple of 8" in err
        assert err.strip().endswith(f"; train with --box {edge}")
