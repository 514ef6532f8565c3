"""Simulation presets: what the shipped ones promise, and what a preset refuses."""

import pytest

from frazil.core.errors import SettingsError
from frazil.simulation.preset import SimulationPreset, load_simulation_preset
from frazil.simulation.structures.built_in import PARTICLES


def test_czii_is_the_acquisition_of_the_challenge():
    # CryoET Data Portal, dataset 10440: acquisition, and the mean counts of its seven training tomograms
    czii = load_simulation_preset("czii")
    assert czii.specimen.shape_voxel == (184, 630, 630)
    assert czii.specimen.voxel_size_angstrom == 10.012444
    picks = dict.fromkeys(PARTICLES, 0) | {
        "apo-ferritin": 375,
        "beta-amylase": 87,
        "beta-galactosidase": 112,
        "ribosome": 331,
        "thyroglobulin": 251,
        "virus-like-particle": 113,
    }
    assert sum(picks.values()) == 1269
    assert czii.specimen.amounts == {label: round(count / 7) for label, count in picks.items()}
    tilts, optics = czii.microscope.tilts, czii.microscope.optics
    assert (len(tilts.angles_degrees), tilts.angles_degrees[0], tilts.angles_degrees[-1]) == (31, -45, 45)
    assert (tilts.order, tilts.dose_e_per_angstrom2) == ("dose-symmetric", 62.93)
    assert (optics.voltage_kv, optics.spherical_aberration_mm, optics.phase_shift_degrees) == (300, 2.7, 0)
    assert 5e-6 <= czii.grey_std <= 9e-6  # of the denoised training tomograms, whatever the fit says


def test_small_is_less_of_czii():
    small, czii = load_simulation_preset("small"), load_simulation_preset("czii")
    assert small.specimen.shape_voxel == (128, 256, 256)
    assert small.specimen.amounts == dict.fromkeys(PARTICLES, 12)
    assert (small.microscope, small.denoiser, small.grey_std) == (czii.microscope, czii.denoiser, czii.grey_std)
    same = set(type(small.specimen).model_fields) - {"shape_voxel", "voxel_size_angstrom", "particles_per_class"}
    assert small.specimen.model_dump(include=same) == czii.specimen.model_dump(include=same)


def test_a_preset_survives_its_own_dump():
    small = load_simulation_preset("small")
    assert SimulationPreset.model_validate(small.model_dump(mode="json")) == small


@pytest.mark.parametrize("given", [{"specimen.shape_voxel": "48,96,112"}, {"specimen.voxel_size_angstrom": 5.0}])
def test_ice_that_is_too_thick_fills_another_tomogram(given, capsys):
    assert load_simulation_preset("small", given).specimen.ice_thickness_angstrom is None
    said = capsys.readouterr().err
    assert "1100 A thick in preset small" in said
    assert "ice thickness" in said
    deep = load_simulation_preset("small", {"specimen.shape_voxel": "120,96,112"}).specimen
    assert deep.ice_thickness_angstrom == 1100
    assert not capsys.readouterr().err


def test_concentrations_replace_the_counts_of_a_preset_and_counts_its_concentrations():
    for given in ({"specimen.concentrations": "ribosome=300"}, {"specimen.concentrations.ribosome": 300}):
        preset = load_simulation_preset("small", given)
        assert preset.specimen.concentrations == {"ribosome": 300}
        assert preset.specimen.particles_per_class is None
    counted = load_simulation_preset(preset, {"specimen.particles_per_class": "ribosome=2"}).specimen
    assert (counted.concentrations, counted.particles_per_class) == (None, {"ribosome": 2})


def test_structures_from_files_replace_those_of_the_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(
        'base = "small"\n[[specimen.structures]]\nlabel = "ribosome"\nmass_kda = 900\n'
        '[[specimen.structures]]\nlabel = "apo-ferritin"\nmass_kda = 500\n'
    )
    preset = load_simulation_preset("mine.toml").with_structures({"ribosome": "a.mrc", "ball": tmp_path / "b.mrc"})
    entries = {entry.label: (entry.source, entry.mass_kda) for entry in preset.specimen.structures}
    assert entries == {
        "apo-ferritin": (None, 500),
        "ribosome": (str(tmp_path / "a.mrc"), None),
        "ball": (str(tmp_path / "b.mrc"), None),
    }


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"specimen.ice_thickness_angstrom": 2000}, ("preset small: specimen: ice 2000 A thick", "1280 A")),
        ({"specimen.crowding": 0.5}, ("specimen.crowding = 0.5",)),
        ({"microscope.tilts.step_degrees": 0}, ("microscope.tilts: tilt step 0",)),
    ],
)
def test_a_value_that_cannot_be_is_a_settings_error(changes, parts, refuses):
    with refuses(SettingsError, *parts):
        load_simulation_preset("small", changes)
