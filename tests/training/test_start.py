"""A training that starts from a bundle: what it takes over, what it adds, what it refuses; and fresh weights that measure their bands."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from frazil.core.errors import BundleError, OutputError, SettingsError, ShapeError
from frazil.core.records import Condition
from frazil.core.settings import CurateSettings, ModelSettings, SourceSettings
from frazil.dataset.examples import Example
from frazil.dataset.plan import make_plan
from frazil.dataset.tomograms.curate import curate_tomograms
from frazil.io.sources import open_source
from frazil.model.bundle import load_bundle, save_bundle
from frazil.model.unet import build_network
from frazil.model.wavelet import FrontEnd, haar_join
from frazil.training import start
from frazil.training.run import train
from frazil.training.start import Start, measure_bands

NETWORK = {"model.base_channels": 8, "model.embedding_width": 8, "diffusion.timesteps": 20}
SHORT = {"training.epochs": 1, "training.batch_size": 4}
STILL = SHORT | {"training.learning_rate": 1e-30, "training.ema_decay": 0.0}
"""A learning rate of nothing, so that the weights stay those that the training started from."""


@pytest.fixture
def store(real_boxes):
    """Boxes of 8^3 voxels: apo-ferritin and ribosome."""
    return real_boxes


@pytest.fixture
def base(store, tmp_path):
    """A bundle of the store's own classes, and a third: the tail of its names, as if it had been trained elsewhere."""
    run = train(store, tmp_path / "base", preset="smoke", settings=NETWORK | SHORT, accelerator="cpu")
    bundle = load_bundle(run.bundle)
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


@pytest.fixture
def train_on(store, base, tmp_path):
    """Return a function that trains from the bundle on the store, and gives the new bundle."""

    def train_on(name, settings=STILL, *, boxes=store, bundle=base, **options):
        run = train(
            boxes, tmp_path / name, preset="smoke", settings=settings, start=bundle, accelerator="cpu", **options
        )
        return load_bundle(run.bundle)

    return train_on


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-9, rtol=0)


def label_columns(bundle):
    return bundle.network.state_dict()["embed.label.weight"].T


def test_shared_layers_and_known_classes_are_those_of_the_bundle(train_on, base, capsys):
    bundle, origin = train_on("run"), load_bundle(base)
    assert f"starts from the weights of smoke {origin.digest[7:19]}" in capsys.readouterr().out
    assert bundle.card.labels == ("apo-ferritin", "ribosome")
    assert bundle.card.base_digest == origin.digest
    assert origin.card.provenance in bundle.card.provenance
    assert bundle.card.preset.model == origin.card.preset.model
    assert "actin" not in bundle.card.radius_angstrom
    for name, tensor in origin.network.state_dict().items():
        close(bundle.network.state_dict()[name], tensor[:, 1:] if name == "embed.label.weight" else tensor)


def test_classes_are_kept_on_request_and_new_ones_start_as_old_ones(train_on, capsys):
    kept = train_on("kept", keep_classes=True)
    assert kept.card.labels == ("actin", "apo-ferritin", "ribosome")
    assert kept.card.radius_angstrom["actin"] == 35.0
    close(label_columns(kept)[0], torch.full((8,), 0.5))
    like = train_on("like", class_from={"ribosome": "actin"})
    assert "ribosome starts as actin" in capsys.readouterr().out
    close(label_columns(like)[1], torch.full((8,), 0.5))


def test_a_class_that_the_bundle_does_not_know_starts_fresh(train_on, base, capsys):
    card = json.loads((base / "bundle.json").read_text())
    (base / "bundle.json").write_text(json.dumps(card | {"labels": ["actin", "apo-ferritin", "80S"]}))
    found, known = label_columns(train_on("run")), label_columns(load_bundle(base))
    assert "new: ribosome" in capsys.readouterr().out
    close(found[0], known[1])
    assert all((found[1] - column).abs().max() > 1e-3 for column in known)


def test_frozen_parts_stay_and_the_others_learn(train_on, base):
    settings = SHORT | {"training.learning_rate": 0.01, "training.freeze": ["encoder", "bottleneck"]}
    before, after = load_bundle(base).network.state_dict(), train_on("run", settings).network.state_dict()
    for name, tensor in before.items():
        still = name.startswith(("enc", "down", "bot"))
        if name != "embed.label.weight":
            assert torch.equal(tensor, after[name]) == still, name
    assert train_on("run", settings | {"training.epochs": 2}).card.losses["epochs"] == 2


def test_another_bundle_or_other_classes_of_it_are_another_run(train_on, base, tmp_path, refuses):
    train_on("run")
    with refuses(OutputError, "base.digest"):
        train_on("run", bundle=tmp_path / "base")
    with refuses(OutputError, "base.classes.actin"):
        train_on("run", keep_classes=True)


@pytest.mark.parametrize(
    ("options", "settings", "parts"),
    [
        ({"class_from": {"ribosome": "80S"}}, {}, ("ribosome=80S", "no class 80S", "actin, apo-ferritin")),
        ({"class_from": {"virus": "actin"}}, {}, ("virus=actin", "the store has no class virus")),
        ({"class_from": {"ribosome": "actin"}, "keep_classes": True}, {}, ("keeping classes keeps ribosome",)),
        ({}, {"model.base_channels": 16}, ("model.base_channels=16", "leave it out")),
        ({}, {"training.freeze": ["head"]}, ("freeze", "head", "encoder")),
        ({}, {"training.box_size_voxel": 16}, ("box_size_voxel 16 in boxes of 8", "boxes of 8")),
    ],
)
def test_what_does_not_match_is_refused(train_on, tmp_path, refuses, options, settings, parts):
    with refuses(SettingsError, *parts):
        train_on("run", STILL | settings, **options)
    assert not (tmp_path / "run").exists()


def test_no_bundle_and_another_voxel_size_are_refused(train_on, base, tmp_path, refuses):
    with refuses(BundleError, "nowhere"):
        train_on("run", bundle=tmp_path / "nowhere")
    card = json.loads((base / "bundle.json").read_text())
    (base / "bundle.json").write_text(json.dumps(card | {"voxel_size_angstrom": 13.5}))
    with refuses(SettingsError, "13.500 A", "10.012", "resampled to 13.500 A", "--other-voxel-size"):
        train_on("run")
    assert not (tmp_path / "run").exists()
    train_on("run", other_voxel_size=True)


def test_the_volume_can_be_let_past_a_trained_network_and_nothing_else_changes_in_it(train_on, base, tmp_path, refuses):
    asked = STILL | {"model.preconditioning": "inverse-variance"}
    before, bundle = load_bundle(base), train_on("past", asked)
    settings = bundle.card.preset.model
    assert settings == before.card.preset.model.model_copy(update={"preconditioning": "inverse-variance"})
    for name, tensor in bundle.network.state_dict().items():
        assert "label" in name or torch.equal(before.network.state_dict()[name], tensor)
    assert train_on("again", bundle=tmp_path / "past").card.preset.model == settings  # unless told otherwise, it stays

    edm = before.card.preset.model_copy(update={"model": settings.model_copy(update={"preconditioning": "edm"})})
    network = build_network(edm.model, len(before.card.labels), edm.diffusion)
    save_bundle(tmp_path / "edm", network, before.card.model_copy(update={"preset": edm}))
    with refuses(SettingsError, "model.preconditioning=inverse-variance", "has edm"):
        train_on("run", asked, bundle=tmp_path / "edm")


def test_a_box_that_the_network_of_the_bundle_cannot_halve_is_refused(
    train_on, base, store, make_box_store, tmp_path, refuses
):
    card = load_bundle(base).card
    haar = card.preset.model_copy(update={"model": card.preset.model.model_copy(update={"front_end": "haar"})})
    network = build_network(haar.model, len(card.labels), haar.diffusion)
    save_bundle(tmp_path / "haar", network, card.model_copy(update={"preset": haar, "box_size_voxel": 16}))
    with refuses(ShapeError, str(store), "box edge z = 8", "multiple of 16", "boxes of"):
        train_on("run", bundle=tmp_path / "haar")
    larger = make_box_store(box=16, name="larger")
    for turns, edge in (True, 8), (False, 16):
        settings = STILL | {"training.box_size_voxel": 12, "training.half_turns": turns}
        with pytest.raises(ShapeError, match=f"multiple of 8.*; train on boxes of {edge}$"):
            train_on("run", settings, boxes=larger)


SETTINGS = ModelSettings(base_channels=8, embedding_width=8, front_end="haar")


def test_classes_move_to_their_new_numbers_and_everything_else_stays():
    trained = build_network(SETTINGS, 3, generator=torch.Generator().manual_seed(5)).eval()
    trained.front_end.std.copy_(torch.arange(1.0, 9.0))
    state = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    fresh = build_network(SETTINGS, 4, generator=torch.Generator().manual_seed(6)).eval()
    before = fresh.embed.label.weight.clone()
    bundle = SimpleNamespace(network=trained, card=SimpleNamespace(labels=("a", "b", "c"), maps=()))
    Start(bundle, ("c", "new", "a", "other"), ("c", None, "a", "a")).put_into(fresh)
    weight = fresh.embed.label.weight
    assert torch.equal(weight[:, [0, 2, 3]], trained.embed.label.weight[:, [2, 0, 0]])
    assert torch.equal(weight[:, 1], before[:, 1])
    assert torch.equal(fresh.front_end.std, trained.front_end.std)

    x, t, position = torch.randn(2, 1, 16, 16, 16), torch.tensor([3, 700]), torch.rand(2, 3)
    with torch.no_grad():
        old = trained(x, t, Condition(torch.tensor([2, 0]), position))
        new = fresh(x, t, Condition(torch.tensor([0, 3]), position))
        assert torch.equal(old, new)
        for parameter in fresh.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, state[name]) for name, tensor in trained.state_dict().items())


def test_a_new_label_map_changes_nothing_at_first_and_a_known_one_keeps_its_place(make_layout_bundle):
    x, t, position = torch.randn(1, 1, 16, 16, 16), torch.tensor([400]), torch.full((1, 3), torch.nan)
    classes, told = torch.rand(1, 2, 16, 16, 16), torch.ones(1, 3, 16, 16, 16)
    marked = (torch.rand(1, 1, 16, 16, 16) < 0.3).float()

    @torch.no_grad()
    def predicted(network, *maps):
        return network(x, t, Condition(torch.tensor([-1]), position, torch.cat([classes, *maps, told], dim=1)))

    def started(bundle, maps):
        settings = bundle.card.preset.model.model_copy(update={"layout_maps": maps})
        network = build_network(settings, 2, bundle.card.preset.diffusion).eval()
        Start(bundle, bundle.card.labels, bundle.card.labels).put_into(network)
        return network

    bundle = load_bundle(make_layout_bundle())
    network = started(bundle, ("film", "membrane"))
    for maps in (0 * marked, 0 * marked), (marked, 1 - marked):
        torch.testing.assert_close(predicted(network, *maps), predicted(bundle.network), atol=1e-4, rtol=0)

    bundle = load_bundle(make_layout_bundle(maps=("film", "membrane")))
    known = predicted(bundle.network, 0 * marked, marked)
    assert not torch.allclose(known, predicted(bundle.network, 0 * marked, 0 * marked), atol=1e-3)
    torch.testing.assert_close(predicted(started(bundle, ("membrane",)), marked), known, atol=1e-4, rtol=0)


@dataclass
class Boxes:
    """White noise of known deviation in every Haar band, twice as strong in odd boxes."""

    std: tuple[float, ...]
    count: int = 6

    def __len__(self) -> int:
        return self.count

    def fixed(self, row: int) -> Example:
        noise = torch.randn(1, 8, 16, 16, 16, generator=torch.Generator().manual_seed(row)) * (1 + row % 2)
        volume = haar_join(noise * torch.tensor(self.std)[None, :, None, None, None])[0]
        return Example(volume, 0, torch.full((3,), 0.5), row)


STD = (2.5, 0.8, 0.7, 0.3, 0.6, 0.25, 0.2, 0.06)


def test_deviations_are_those_of_all_boxes_together():
    front_end, again = FrontEnd("haar"), FrontEnd("haar")
    for one in (front_end, again):
        measure_bands(one, Boxes(STD))
    torch.testing.assert_close(front_end.std, torch.tensor(STD) * 2.5**0.5, rtol=0.02, atol=0)  # (1 + 4) / 2
    assert torch.equal(again.std, front_end.std)


def test_large_sets_are_measured_by_a_share_of_their_boxes(monkeypatch):
    monkeypatch.setattr(start, "_BOXES", 4)
    read = []

    class Counted(Boxes):
        def fixed(self, row):
            read.append(row)
            return super().fixed(row)

    measure_bands(FrontEnd("haar"), Counted(STD, count=12))
    assert read == [0, 3, 6, 9]


def test_a_band_without_signal_gets_a_small_scale_and_no_front_end_needs_none():
    front_end = FrontEnd("haar")
    measure_bands(front_end, Boxes((1.0,) + (0.0,) * 7, count=1))
    assert front_end.std[1:].tolist() == pytest.approx([1e-3] * 7)
    nothing = FrontEnd("none")
    measure_bands(nothing, Boxes(STD))
    assert not nothing.state_dict()


@pytest.mark.parametrize("whole", [False, True])
def test_pretrained_is_the_model_that_goes_with_the_data(whole, make_box_store, make_project, tmp_path, monkeypatch):
    asked = []

    def match(path, *_, **__):
        asked.append(str(path))
        raise SettingsError("enough")

    monkeypatch.setattr(Start, "match", match)
    if whole:
        project = make_project(runs=("TS_1",), shape_voxel=(48, 72, 72), picks_per_label=5)
        source = open_source(project.path, SourceSettings())
        plan = make_plan(source, SourceSettings(), CurateSettings(validation_fraction=0))
        store = curate_tomograms(source, plan, tmp_path / "store").path
    else:
        store = make_box_store()
    with pytest.raises(SettingsError, match="enough"):
        train(store, tmp_path / "run", start="pretrained")
    assert asked == ["pretrained-teacher" if whole else "pretrained-boxes"]
