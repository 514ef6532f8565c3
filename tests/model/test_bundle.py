"""Bundles: what is written is read, and nothing damaged, foreign or newer is taken for a model."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frazil.core.errors import BundleError, OutputError
from frazil.core.files import file_digest
from frazil.core.presets import load_preset
from frazil.core.records import Condition, Moments
from frazil.model.bundle import BundleCard, load_bundle, read_card, save_bundle
from frazil.model.unet import build_network

LABELS = ("apo-ferritin", "ribosome")


def make_card(**changes):
    preset = load_preset("smoke", {"model.base_channels": 8, "model.embedding_width": 8})
    values = {
        "preset": preset,
        "labels": LABELS,
        "box_size_voxel": 16,
        "voxel_size_angstrom": 10.012444,
        "tilt_range_degrees": (-48.0, 45.0),
        "normalisation": preset.training.normalisation,
        "moments": Moments(1e-7, 6.5e-6),
        "training_data_digest": "sha256:0",
        "radius_angstrom": {"ribosome": 150.0},
        "losses": {"train_loss": 0.4, "validation_loss": 0.41},
        "provenance": "trained in a test",
    }
    return BundleCard(**{**values, **changes})


@pytest.fixture(scope="module")
def network():
    return build_network(make_card().preset.model, len(LABELS))


@pytest.fixture
def bundle(tmp_path, network) -> Path:
    save_bundle(tmp_path / "bundle", network, make_card())
    return tmp_path / "bundle"


def edit_card(folder, **changes):
    path = folder / "bundle.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def test_a_bundle_is_two_plain_files_and_comes_back_as_it_was(bundle, network):
    assert sorted(path.name for path in bundle.iterdir()) == ["bundle.json", "model.safetensors"]
    loaded = load_bundle(bundle)
    weights = network.state_dict()
    assert loaded.network.state_dict().keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.network.state_dict().items())
    assert not loaded.network.training
    assert loaded.card == make_card(weights_digest=file_digest(bundle / "model.safetensors"))
    x, condition = torch.randn(1, 1, 8, 8, 8), Condition(torch.tensor([1]), torch.rand(1, 3))
    with torch.no_grad():
        t = torch.tensor([300])
        assert torch.equal(loaded.network(x, t, condition), network(x, t, condition))


def test_a_network_with_all_options_comes_back_as_it_was(tmp_path):
    options = {
        "model.base_channels": 8,
        "model.front_end": "haar",
        "model.preconditioning": "edm",
        "model.modulation": "scale-shift",
        "model.attention_heads": 2,
        "diffusion.timesteps": 50,
    }
    card = make_card(preset=load_preset("smoke", options))
    network = build_network(card.preset.model, len(LABELS), card.preset.diffusion).eval()
    network.front_end.std.copy_(torch.linspace(2.5, 0.1, 8))  # as training measures it
    save_bundle(tmp_path / "bundle", network, card)
    loaded = load_bundle(tmp_path / "bundle").network
    assert torch.equal(loaded.front_end.std, network.front_end.std)
    x, condition, t = torch.randn(1, 1, 16, 16, 16), Condition(torch.tensor([1]), torch.rand(1, 3)), torch.tensor([30])
    with torch.no_grad():
        assert torch.equal(loaded(x, t, condition), network(x, t, condition))


@pytest.mark.parametrize(("schema", "groups"), [(4, 8), (5, 1)])
def test_a_paper_bundle_computes_as_it_was_trained(tmp_path, schema, groups):
    """Up to schema 4, the second norm of the first block had eight groups; the card does not say so."""
    card = make_card(preset=load_preset("paper", {"model.base_channels": 8}), normalisation="padded")
    network = save_bundle(tmp_path / "bundle", build_network(card.preset.model, len(LABELS)), card).network
    if schema == 4:
        preset = card.model_dump(mode="json")["preset"]
        del preset["model"]["first_block_groups"]
        edit_card(tmp_path / "bundle", schema_version=4, preset=preset)
        network.enc1.norm2.num_groups = 8
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.card.preset.model.first_block_groups == groups
    x, condition, t = torch.randn(1, 1, 8, 8, 8), Condition(torch.tensor([1]), torch.rand(1, 3)), torch.tensor([30])
    with torch.no_grad():
        assert torch.equal(loaded.network(x, t, condition), network(x, t, condition))


def test_the_pretrained_bundle_has_eight_groups_everywhere():
    network = load_bundle("pretrained").network
    assert {part.num_groups for part in network.modules() if isinstance(part, torch.nn.GroupNorm)} == {8}


def test_heights_of_particles_reach_beyond_the_outermost_centers(make_layout_bundle):
    """Centers lie in planes 5 to 11 of 20, and the smallest particle has a radius of 3 voxels."""
    assert load_bundle(make_layout_bundle()).card.heights == pytest.approx((2 / 19, 14 / 19), abs=2e-3)
    assert load_bundle(make_layout_bundle(layouts=None)).card.heights is None


def test_the_card_is_plain_json(bundle):
    content = json.loads((bundle / "bundle.json").read_text())
    assert list(content)[:4] == ["schema_version", "kind", "frazil_version", "torch_version"]
    assert (content["schema_version"], content["axis_order"]) == (11, "zyx")
    assert content["labels"] == list(LABELS)
    assert content["tilt_range_degrees"] == [-48, 45]
    assert content["normalisation"] == content["preset"]["training"]["normalisation"] == "measured"
    assert content["radius_angstrom"] == {"ribosome": 150.0}


def test_the_digest_names_exactly_this_model(tmp_path, network, bundle):
    digest = load_bundle(bundle).digest
    assert save_bundle(tmp_path / "again", network, make_card()).digest == digest
    shutil.copytree(bundle, tmp_path / "copy")
    assert load_bundle(tmp_path / "copy").digest == digest
    assert save_bundle(tmp_path / "other card", network, make_card(provenance="x")).digest != digest
    other = build_network(make_card().preset.model, 2, generator=torch.Generator().manual_seed(1))
    assert save_bundle(tmp_path / "other weights", other, make_card()).digest != digest


finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(1e-6, 1e6)


@given(
    labels=st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=4, unique=True),
    voxel_size_angstrom=st.none() | st.floats(0.01, 1e4),
    tilt_range_degrees=st.none() | st.tuples(st.floats(-90, -1), st.floats(1, 90)),
    moments=st.none() | st.builds(Moments, finite, positive),
    losses=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), finite, max_size=3),
    provenance=st.text(st.characters(codec="utf-8")),
)
def test_cards_survive_json(**values):
    card = make_card(**values, radius_angstrom=dict.fromkeys(values["labels"], 60.0))
    assert BundleCard.model_validate_json(card.model_dump_json()) == card


@settings(max_examples=15)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_no_changed_byte_of_the_weights_goes_unnoticed(tmp_path, network, place, flip):
    folder = tmp_path / "bundle"
    save_bundle(folder, network, make_card())
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= flip
    path.write_bytes(content)
    with pytest.raises(BundleError, match="damaged"):
        load_bundle(folder)


def test_an_old_bundle_is_replaced_and_foreign_files_are_not(bundle, network, refuses):
    save_bundle(bundle, network, make_card(provenance="again"))
    assert load_bundle(bundle).card.provenance == "again"
    (bundle / "thesis.tex").write_text("years of work")
    with refuses(OutputError, "thesis.tex", "choose another folder"):
        save_bundle(bundle, network, make_card())
    assert (bundle / "thesis.tex").read_text() == "years of work"
    with refuses(OutputError, "thesis.tex: is a file"):
        save_bundle(bundle / "thesis.tex", network, make_card())
    with refuses(OutputError, "choose a shorter one"):
        save_bundle(bundle / ("x" * 300), network, make_card())


def test_what_file_managers_leave_neither_hinders_nor_vanishes(bundle, network):
    (bundle / ".DS_Store").write_bytes(b"icons")
    save_bundle(bundle, network, make_card(provenance="again"))
    assert load_bundle(bundle).card.provenance == "again"
    assert sorted(path.name for path in bundle.iterdir()) == [".DS_Store", "bundle.json", "model.safetensors"]


def test_the_run_folder_stands_for_the_bundle_in_it(tmp_path, bundle, network, refuses):
    digest = load_bundle(bundle).digest
    assert bundle == tmp_path / "bundle"
    assert load_bundle(tmp_path).digest == load_bundle(str(tmp_path)).digest == digest
    save_bundle(tmp_path / "outer", network, make_card(provenance="outer"))
    shutil.copytree(bundle, tmp_path / "outer" / "bundle")
    assert load_bundle(tmp_path / "outer").card.provenance == "outer"  # a bundle stands for itself
    (bundle / "model.safetensors").unlink()
    with refuses(BundleError, str(bundle / "model.safetensors")):
        load_bundle(tmp_path)


def test_a_crash_while_writing_keeps_the_old_bundle(bundle, network, monkeypatch):
    before = load_bundle(bundle).digest
    write_text = Path.write_text

    def crash(path, *arguments, **options):
        write_text(path, "half a ca")
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", crash)
    with pytest.raises(KeyboardInterrupt):
        save_bundle(bundle, network, make_card(provenance="new"))
    monkeypatch.undo()
    assert load_bundle(bundle).digest == before
    assert sorted(path.name for path in bundle.iterdir()) == ["bundle.json", "model.safetensors"]


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path, network, monkeypatch, refuses):
    def fail(path, *arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with refuses(OutputError, "bundle", "disk is full"):
        save_bundle(tmp_path / "bundle", network, make_card())
    assert list((tmp_path / "bundle").iterdir()) == []


def test_a_bundle_of_the_first_schema_is_read_as_the_network_of_the_paper(bundle, network):
    """Its card says nothing of what was added since."""
    card = json.loads((bundle / "bundle.json").read_text())
    added = ("front_end", "preconditioning", "modulation", "attention_heads", "channel_multipliers", "band_std")
    for name in (*added, "first_block_groups"):
        del card["preset"]["model"][name]
    for name in ("memory_format", "loss_weighting", "class_dropout", "checkpoint_activations", "min_snr_gamma"):
        del card["preset"]["training"][name]
    edit_card(bundle, schema_version=1, preset=card["preset"], radius_angstrom=...)
    old = load_bundle(bundle)
    assert (old.card.preset, old.card.radius_angstrom) == (make_card().preset, {})
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in old.network.state_dict().items())


def test_layouts_that_were_painted_otherwise_are_refused(make_layout_bundle, refuses):
    bundle = make_layout_bundle()
    edit_card(bundle, schema_version=7)
    assert load_bundle(bundle).card.maps == ()
    edit_card(bundle, schema_version=6)
    with refuses(BundleError, "schema version 6", "train it anew"):
        load_bundle(bundle)


def test_what_is_open_in_training_is_decided_in_a_bundle():
    with pytest.raises(ValueError, match="a bundle has to say what it was trained in"):
        make_card(preset=load_preset("smoke", {"training.precision": "auto"}))


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"schema_version": 12, "new_field": 1}, ("schema version 12", "newer frazil")),
        ({"schema_version": "one"}, ("schema_version",)),
        ({"kind": "box store"}, ("not a record of kind 'frazil bundle'",)),
        ({"axis_order": "xyz"}, ("axis_order", "'zyx'")),
        ({"unheard_of": 1}, ("unheard_of",)),
        ({"labels": ["a", "a"]}, ("occurs twice",)),
        ({"labels": []}, ("labels",)),
        ({"labels": ["a", "b", "c"]}, ("embed.label.weight", "[8, 2]", "[8, 3]")),
        ({"preset": ...}, ("preset",)),
        ({"box_size_voxel": 20}, ("box_size_voxel", "8")),
        ({"voxel_size_angstrom": 0}, ("voxel_size_angstrom", "0.01")),
        ({"radius_angstrom": {"ribosome": 0}}, ("radius_angstrom.ribosome", "greater than 0")),
        ({"normalisation": "padded"}, ("normalisation padded", "measured")),
        ({"weights_digest": "sha256:0"}, ("model.safetensors", "damaged")),
        ({"weights_digest": None}, ("model.safetensors", "damaged")),
    ],
)
def test_cards_that_are_not_understood_are_refused(bundle, changes, parts, refuses):
    edit_card(bundle, **changes)
    with refuses(BundleError, "bundle", *parts):
        load_bundle(bundle)


def test_what_is_no_bundle_is_refused(tmp_path, bundle, refuses):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nothing", bundle / "bundle.json"):
        with refuses(BundleError, str(folder), "not a bundle", "frazil train"):
            load_bundle(folder)
    (bundle / "bundle.json").write_text("{ half")
    with refuses(BundleError, "bundle.json", "damaged"):
        load_bundle(bundle)
    (bundle / "bundle.json").write_text("{}")
    with refuses(BundleError, "bundle.json", "frazil bundle"):
        read_card(bundle)


def test_missing_or_truncated_weights_are_refused(bundle, refuses):
    path = bundle / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with refuses(BundleError, "model.safetensors", "damaged", "copy the bundle again"):
        load_bundle(bundle)
    edit_card(bundle, weights_digest=file_digest(path))  # the digest fits, and still it is no tensor file
    with refuses(BundleError, "model.safetensors", "damaged"):
        load_bundle(bundle)
    path.unlink()
    with refuses(BundleError, "model.safetensors", "no such file"):
        load_bundle(bundle)


def test_weights_that_do_not_fit_or_are_not_finite_are_never_written(tmp_path, network, refuses):
    with refuses(BundleError, "embed.label.weight", "[8, 2]", "[8, 1]"):
        save_bundle(tmp_path / "bundle", network, make_card(labels=("one",)))
    broken = build_network(make_card().preset.model, 2)
    broken.load_state_dict(network.state_dict())
    broken.bot.conv1.weight.data[0, 0, 0, 0, 0] = float("nan")
    with refuses(BundleError, "bot.conv1.weight", "not finite"):
        save_bundle(tmp_path / "bundle", broken, make_card())
    assert list(tmp_path.iterdir()) == []
