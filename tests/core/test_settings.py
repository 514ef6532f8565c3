"""Settings refuse what cannot be used, and never change."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import frazil
from frazil.core.errors import RequestError, SettingsError
from frazil.core.settings import (
    CurateSettings,
    DiffusionSettings,
    ModelSettings,
    Preset,
    SamplingSettings,
    SourceSettings,
    TrainingSettings,
    check_number,
    check_seed,
)


@pytest.mark.parametrize(
    "settings", [SourceSettings(), CurateSettings(), ModelSettings(), DiffusionSettings(), TrainingSettings()]
)
def test_settings_are_frozen_and_misspelt_keys_are_errors(settings):
    name = next(iter(type(settings).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, name, None)
    with pytest.raises(ValidationError, match="extra"):
        type(settings)(**{f"{name}_": 1})


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (SourceSettings, {"level": -1}),
        (SourceSettings, {"voxel_size_angstrom": 0}),
        (SourceSettings, {"voxel_size_angstrom": float("inf")}),
        (SourceSettings, {"voxel_spacing_angstrom": float("nan")}),
        (CurateSettings, {"voxel_size_angstrom": float("inf")}),
        (TrainingSettings, {"learning_rate": float("inf")}),
        (CurateSettings, {"box_size_voxel": 0}),
        (CurateSettings, {"box_size_voxel": 20}),
        (CurateSettings, {"max_padding": 1.5}),
        (CurateSettings, {"validation_fraction": 1.0}),
        (ModelSettings, {"conditioning": "film"}),
        (ModelSettings, {"base_channels": 12}),
        (ModelSettings, {"embedding_width": 9}),
        (ModelSettings, {"front_end": "fourier"}),
        (ModelSettings, {"channel_multipliers": ()}),
        (ModelSettings, {"channel_multipliers": (1, 0)}),
        (ModelSettings, {"attention_heads": -1}),
        (ModelSettings, {"attention_heads": 3}),
        (ModelSettings, {"band_std": (1.0,) * 8}),
        (ModelSettings, {"band_std": (1.0,) * 7, "front_end": "haar"}),
        (ModelSettings, {"band_std": (1.0,) * 7 + (0.0,), "front_end": "haar"}),
        (ModelSettings, {"preconditioning": "v"}),
        (ModelSettings, {"modulation": "film"}),
        (TrainingSettings, {"loss_weighting": "snr"}),
        (TrainingSettings, {"min_snr_gamma": 0}),
        (TrainingSettings, {"class_dropout": 1.0}),
        (DiffusionSettings, {"timesteps": 1}),
        (DiffusionSettings, {"beta_end": 1.0}),
        (TrainingSettings, {"learning_rate": 0}),
        (TrainingSettings, {"ema_decay": 1.0}),
        (TrainingSettings, {"precision": "16-mixed"}),
        (SamplingSettings, {"sampler": "euler"}),
        (SamplingSettings, {"steps": 0}),
        (SamplingSettings, {"guidance": -0.1}),
        (SamplingSettings, {"guidance": float("nan")}),
        (SamplingSettings, {"guidance_interval": (5.0, 0.3)}),
        (SamplingSettings, {"guidance_interval": (-1.0, 0.3)}),
        (Preset, {"name": ""}),
    ],
)
def test_values_that_cannot_be_used_are_refused(settings, values):
    with pytest.raises(ValidationError) as caught:
        settings(**values)
    assert caught.value.errors()[0]["loc"][:1] in {(name,) for name in values} | {
        ()
    }  # () where two values contradict each other


@given(groups=st.integers(1, 16), factor=st.integers(1, 8))
def test_channels_are_a_multiple_of_the_groups(groups, factor):
    assert ModelSettings(groups=groups, base_channels=groups * factor).base_channels == groups * factor
    if groups > 1:
        with pytest.raises(ValidationError, match=f"not a multiple of groups {groups}"):
            ModelSettings(groups=groups, base_channels=groups * factor + 1)


def test_levels_and_front_end_say_how_often_a_box_is_halved():
    assert ModelSettings().halvings == 3
    assert ModelSettings().level_channels == (32, 64, 128)
    assert ModelSettings().bands == 1
    settings = ModelSettings(front_end="haar", channel_multipliers=(1, 2, 3, 4), base_channels=16)
    assert settings.halvings == 5
    assert settings.level_channels == (16, 32, 48, 64)
    assert settings.bands == 8


def test_presets_survive_json():
    preset = Preset(name="mine", curate=CurateSettings(validation_runs=("TS_1",)), sampling=SamplingSettings(steps=7))
    assert Preset.model_validate_json(preset.model_dump_json()) == preset


@pytest.mark.parametrize("guidance", [0.0, 1.5])
def test_a_preset_that_guides_must_hide_labels(guidance):
    sampling = SamplingSettings(guidance=guidance, guidance_interval=(0.3, 5.0))
    with pytest.raises(ValidationError, match=r"needs labels hidden in training; set training\.class_dropout"):
        Preset(name="mine", sampling=sampling)
    Preset(name="mine", sampling=sampling, training=TrainingSettings(class_dropout=0.1))


@pytest.mark.parametrize("value", [None, 1.5, "5", float("nan")])
def test_what_is_counted_or_a_seed_is_a_whole_number(value, refuses):
    for check in (check_seed, partial(check_number, "count")):
        with refuses(SettingsError, repr(value), "whole number"):
            check(value, SettingsError)
    check_seed(np.int64(-3), SettingsError)


def test_python_without_a_seed_is_told_so(tmp_path, refuses):
    with refuses(SettingsError, "seed None"):
        frazil.simulate(tmp_path, seed=None)
    with refuses(RequestError, "seed None"):
        frazil.evaluate("boxes", "made", "out", seed=None)
