"""Presets as data: what each says, what can be put over it, and one line for everything that is wrong."""

import tomllib
from importlib.resources import files

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import SettingsError
from frazil.core.presets import load_preset, names_in
from frazil.core.settings import Preset
from frazil.simulation.preset import load_simulation_preset

PRESETS = names_in(files("frazil.configs"))


def test_paper_preset_is_the_paper():
    # Passi & Cohen: data, network, diffusion and training sections
    paper = load_preset("paper")
    assert paper.name == "paper"
    assert paper.curate.box_size_voxel == 64
    assert paper.curate.voxel_size_angstrom is None
    assert (paper.curate.split_by, paper.curate.validation_fraction, paper.curate.max_padding) == ("particle", 0.1, 1.0)
    assert (paper.model.conditioning, paper.model.base_channels, paper.model.groups) == ("concat", 32, 8)
    assert paper.model.first_block_groups == 1
    assert (paper.diffusion.timesteps, paper.diffusion.beta_start, paper.diffusion.beta_end) == (1000, 1e-4, 2e-2)
    assert (paper.training.epochs, paper.training.batch_size, paper.training.learning_rate) == (100, 16, 1e-4)
    assert (paper.training.precision, paper.training.ema_decay, paper.training.normalisation) == (
        "32-true",
        0,
        "padded",
    )
    assert (paper.sampling.sampler, paper.sampling.steps) == ("ddpm", None)


def test_fast_preset_trains_a_wavelet_network_on_the_noise_of_the_paper_and_an_honest_split():
    fast, paper = load_preset("fast"), load_preset("paper")
    assert (fast.model.front_end, fast.model.modulation, fast.model.base_channels) == ("haar", "scale-shift", 32)
    assert fast.model.conditioning == paper.model.conditioning
    assert fast.diffusion == paper.diffusion
    assert (fast.training.learning_rate, fast.training.class_dropout) == (3e-4, 0.1)
    assert fast.curate.split_by == "tomogram"
    assert (fast.training.precision, fast.training.ema_decay, fast.training.normalisation) == (
        "auto",
        0.999,
        "measured",
    )
    assert (fast.sampling.sampler, fast.sampling.steps) == ("dpm++", 12)


@pytest.mark.parametrize(("edge", "use"), [(24, "use 16 or 32"), (8, "use 16")])
def test_a_box_that_the_network_of_the_preset_cannot_halve_is_refused(edge, use, refuses):
    """The rule belongs to no single setting: the message begins with none."""
    overrides = {"model.front_end": "haar", "curate.box_size_voxel": edge}
    with refuses(
        SettingsError, f"preset fast: a box of {edge} voxels cannot be halved 4 times", use, "another network"
    ):
        load_preset("fast", overrides)
    assert load_preset("fast", {**overrides, "model.channel_multipliers": [1, 2]}).curate.box_size_voxel == edge


@pytest.mark.parametrize("name", PRESETS)
def test_shipped_presets_set_only_what_exists(name):
    text = (files("frazil.configs") / f"{name}.toml").read_text()
    said = tomllib.loads(text)
    base = load_preset(said.pop("base")).model_dump(exclude={"name"}) if "base" in said else {}
    for group, settings in said.items():
        base[group] = {**base.get(group, {}), **settings}
    assert load_preset(name) == Preset(name=name, **base)


def test_the_presets_that_are_promised_exist():
    assert {"paper", "fast", "smoke"} <= set(PRESETS)


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
        ({"curate.box_size_voxel": 20}, ("curate.box_size_voxel = 20", "multiple of 8")),
        ({"model.base_channels": 12}, ("model: base_channels 12", "multiple of groups 8")),
        ({"training.epochs": 0, "training.batch_size": 0}, ("training.epochs = 0", "and 1 more")),
    ],
)
def test_settings_that_cannot_be_used_are_named(overrides, parts, refuses):
    with refuses(SettingsError, "preset paper" if "name.first" not in overrides else "setting", *parts):
        load_preset("paper", overrides)


def test_unknown_presets_name_the_known_ones(refuses, tmp_path):
    for name in ("papr", str(tmp_path / "none.toml"), str(tmp_path)):
        with refuses(SettingsError, name, "fast, layout, paper, smoke"):
            load_preset(name)


def test_a_broken_file_is_named(refuses, tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("[training\nepochs = 3\n")
    with refuses(SettingsError, "broken.toml", "not valid TOML", "correct"):
        load_preset(path)
    path.write_text("[training]\nepochs = -3\n")
    with refuses(SettingsError, "broken.toml", "training.epochs = -3", "greater than 0"):
        load_preset(path)
    path.write_bytes(b"\xff\xfe\x00")
    with refuses(SettingsError, "broken.toml", "readable TOML"):
        load_preset(path)


@pytest.mark.parametrize("load", [load_preset, load_simulation_preset])
def test_a_preset_says_only_what_differs_from_its_base(load, tmp_path, refuses):
    shipped = PRESETS[0] if load is load_preset else "czii"
    changed = "training.epochs" if load is load_preset else "microscope.tilts.step_degrees"
    *tables, key = changed.split(".")
    (tmp_path / "mine.toml").write_text(f'base = "{shipped}"\n[{".".join(tables)}]\n{key} = 5\n')
    mine = load(tmp_path / "mine.toml")
    assert mine == load(shipped, {changed: 5, "name": "mine"})
    (tmp_path / "theirs.toml").write_text('base = "mine.toml"\nname = "third"\n')
    assert load(tmp_path / "theirs.toml") == load(shipped, {changed: 5, "name": "third"})
    (tmp_path / "round.toml").write_text('base = "about.toml"')
    (tmp_path / "about.toml").write_text('base = "round.toml"')
    with refuses(SettingsError, "round.toml: is its own base", "remove base"):
        load(tmp_path / "round.toml")
    (tmp_path / "lost.toml").write_text('base = "nowhere"')
    with refuses(SettingsError, "nowhere: neither a preset", shipped):
        load(tmp_path / "lost.toml")


def test_the_simulation_presets_that_are_promised_exist():
    assert [load_simulation_preset(name).name for name in ("czii", "small")] == ["czii", "small"]


def test_structures_are_found_beside_the_preset_that_names_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "far" / "maps").mkdir(parents=True)
    text = 'base = "small"\n[[specimen.structures]]\nlabel = "ribosome"\nsource = "maps/ribosome.mrc"\n'
    (tmp_path / "far" / "mine.toml").write_text(text)
    (tmp_path / "near.toml").write_text('base = "far/mine.toml"')
    for preset in ("far/mine.toml", "near.toml"):
        (entry,) = load_simulation_preset(preset).specimen.structures
        assert (tmp_path / entry.source).resolve() == tmp_path / "far" / "maps" / "ribosome.mrc"
    absolute = tmp_path / "elsewhere.mrc"
    (tmp_path / "far" / "mine.toml").write_text(text.replace("maps/ribosome.mrc", str(absolute)))
    assert load_simulation_preset("far/mine.toml").specimen.structures[0].source == str(absolute)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ({"specimen.shape_voxel": "64,256"}, ("specimen.shape_voxel = 64,256", "too few numbers", "add")),
        ({"specimen.shape_voxel": "a,b,c"}, ("specimen.shape_voxel.0 = 'a'", "valid integer")),
        ({"specimen.particles_per_class": "many"}, ("specimen.particles_per_class", "'many'", "valid integer")),
        ({"specimen.voxel_size_angstrom": float("nan")}, ("specimen.voxel_size_angstrom = nan", "finite")),
        ({"microscope.tilts.steps": 3}, ("microscope.tilts.steps is not a setting", "step_degrees")),
        (
            {"specimen.structures": [{"label": "ribosome", "file": "x"}]},
            ("specimen.structures.0.file is not a setting", "source"),
        ),
        ({"denoiser.noise_left": 2}, ("denoiser.noise_left = 2", "less than or equal to 1")),
        ({"microscope.correction.ctf": "full"}, ("microscope.correction.ctf = 'full'", "phase-flip")),
    ],
)
def test_simulation_settings_that_cannot_be_used_are_named(overrides, parts, refuses):
    with refuses(SettingsError, "preset small", *parts):
        load_simulation_preset("small", overrides)
