"""Presets as data: what each says, what can be put over it, and one line for everything that is wrong."""

import tomllib
from importlib.resources import files

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from frazil.config import load_preset, preset_names
from frazil.errors import SettingsError
from frazil.settings import Preset


def test_paper_preset_is_the_paper():
    # Passi & Cohen: data, network, diffusion and training sections
    paper = load_preset("paper")
    assert paper.name == "paper"
    assert paper.curate.box_size_voxel == 64
    assert paper.curate.voxel_size_angstrom is None
    assert (paper.curate.split_by, paper.curate.validation_fraction, paper.curate.max_padding) == ("particle", 0.1, 1.0)
    assert (paper.model.conditioning, paper.model.base_channels, paper.model.groups) == ("concat", 32, 8)
    assert (paper.diffusion.timesteps, paper.diffusion.beta_start, paper.diffusion.beta_end) == (1000, 1e-4, 2e-2)
    assert (paper.training.epochs, paper.training.batch_size, paper.training.learning_rate) == (100, 16, 1e-4)
    assert (paper.training.precision, paper.training.ema_decay, paper.training.normalisation) == (
        "32-true",
        0,
        "padded",
    )
    assert (paper.sampling.sampler, paper.sampling.steps) == ("ddpm", None)


def test_fast_preset_trains_the_network_of_the_paper_on_an_honest_split():
    fast, paper = load_preset("fast"), load_preset("paper")
    assert (fast.model, fast.diffusion) == (paper.model, paper.diffusion)
    assert fast.curate.split_by == "tomogram"
    assert (fast.training.precision, fast.training.ema_decay, fast.training.normalisation) == (
        "bf16-mixed",
        0.999,
        "measured",
    )
    assert (fast.sampling.sampler, fast.sampling.steps) == ("dpm++", 20)


@pytest.mark.parametrize("name", preset_names())
def test_shipped_presets_set_only_what_exists(name):
    text = (files("frazil.configs") / f"{name}.toml").read_text()
    assert load_preset(name) == Preset(name=name, **tomllib.loads(text))


def test_the_presets_that_are_promised_exist():
    assert {"paper", "fast", "smoke"} <= set(preset_names())


def test_overrides_go_over_the_preset_and_leave_the_rest():
    preset = load_preset("paper", {"training.batch_size": "4", "model.conditioning": "sum", "name": "mine"})
    assert preset.training.batch_size == 4
    assert preset.model.conditioning == "sum"
    assert preset.name == "mine"
    assert preset.curate == load_preset("paper").curate


@given(
    epochs=st.integers(1, 10**6),
    rate=st.floats(1e-12, 1.0),
    runs=st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])), max_size=3),
    steps=st.integers(1, 1000),
)
def test_a_user_s_file_is_read_as_written(tmp_path, epochs, rate, runs, steps):
    path = tmp_path / "my preset.toml"
    content = {
        "training": {"epochs": epochs, "learning_rate": rate},
        "curate": {"validation_runs": runs},
        "sampling": {"steps": steps},
    }
    path.write_text(tomli_w.dumps(content), encoding="utf-8")
    preset = load_preset(path)
    assert preset.name == "my preset"
    assert (preset.training.epochs, preset.training.learning_rate) == (epochs, rate)
    assert preset.curate.validation_runs == tuple(runs)
    overrides = {f"{group}.{key}": value for group, values in content.items() for key, value in values.items()}
    assert load_preset("smoke", overrides).training.epochs == epochs


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ({"training.batch_size": 0}, ("training.batch_size = 0", "greater than 0")),
        ({"model.conditioning": "film"}, ("model.conditioning = 'film'", "'concat' or 'sum'")),
        ({"training.epochs": "many"}, ("training.epochs = 'many'", "integer")),
        ({"training.batch": 8}, ("training.batch is not a setting", "batch_size")),
        ({"train.batch_size": 8}, ("train is not a setting", "training")),
        ({"name.first": 1}, ("name.first", "single value")),
        ({"model": 3}, ("model = 3",)),
        ({"curate.box_size_voxel": 20}, ("curate.box_size_voxel = 20", "three times", "16")),
        ({"model.base_channels": 12}, ("model: base_channels 12", "multiple of groups 8")),
        ({"training.epochs": 0, "training.batch_size": 0}, ("training.epochs = 0", "and 1 more")),
    ],
)
def test_settings_that_cannot_be_used_are_named(overrides, parts, refuses):
    with refuses(SettingsError, "preset paper" if "name.first" not in overrides else "setting", *parts):
        load_preset("paper", overrides)


def test_unknown_presets_name_the_known_ones(refuses, tmp_path):
    for name in ("papr", str(tmp_path / "none.toml"), str(tmp_path)):
        with refuses(SettingsError, name, "fast, paper, smoke"):
            load_preset(name)


def test_a_broken_file_is_named(refuses, tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("[training\nepochs = 3\n")
    with refuses(SettingsError, "broken.toml", "no TOML", "correct"):
        load_preset(path)
    path.write_text("[training]\nepochs = -3\n")
    with refuses(SettingsError, "broken.toml", "training.epochs = -3", "greater than 0"):
        load_preset(path)
    path.write_bytes(b"\xff\xfe\x00")
    with refuses(SettingsError, "broken.toml", "readable TOML"):
        load_preset(path)
