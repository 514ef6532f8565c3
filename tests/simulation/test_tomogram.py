"""One simulated tomogram: its random streams, its gray values, and that it shows what the truth about it says."""

import numpy as np
import pytest

from frazil.core.seeds import numpy_generator
from frazil.simulation.microscope.denoiser import denoise
from frazil.simulation.microscope.microscope import take_tomogram
from frazil.simulation.preset import load_simulation_preset
from frazil.simulation.tomogram import BESIDE_ANGSTROM, simulate_tomogram

OPTIONS = {
    "specimen.shape_voxel": (32, 48, 56),
    "specimen.voxel_size_angstrom": 16.0,
    "specimen.ice_thickness_angstrom": 480.0,
    "specimen.particles_per_class": {"ribosome": 2, "apo-ferritin": 3},
}
PRESET = load_simulation_preset("czii", OPTIONS)


def other(**overrides):
    return load_simulation_preset("czii", OPTIONS | {key.replace("__", "."): value for key, value in overrides.items()})


@pytest.fixture(scope="module")
def tomogram():
    return simulate_tomogram(PRESET, 5, 3)


def places(simulated) -> list:
    return [(some.centers_angstrom.tolist(), some.rotations.tolist()) for some in simulated.specimen.placed]


def test_grey_values_are_the_reconstruction_times_one_factor(tomogram):
    acquisition = take_tomogram(
        tomogram.specimen.density,
        16.0,
        PRESET.microscope,
        numpy_generator(5, "microscope", 3),
        ice_thickness_angstrom=480.0,
        beside_angstrom=BESIDE_ANGSTROM,
    )
    wbp = (acquisition.signal + acquisition.noise) * tomogram.grey_factor
    assert np.allclose(tomogram.wbp, wbp, rtol=1e-4, atol=1e-9)
    noisy = acquisition.signal + PRESET.denoiser.noise_left * acquisition.noise
    texture = numpy_generator(5, "denoiser", 3)
    denoised = denoise(noisy, 16.0, PRESET.denoiser, texture) * tomogram.grey_factor
    assert np.allclose(tomogram.denoised, denoised, rtol=1e-4, atol=1e-9)
    assert tomogram.denoised.std() == pytest.approx(PRESET.grey_std, rel=1e-4)
    assert tomogram.denoised.mean() == pytest.approx(0, abs=1e-3 * PRESET.grey_std)
    assert tomogram.wbp.dtype == tomogram.denoised.dtype == np.float32


def test_it_shows_the_particles_dark_where_the_truth_says(tomogram):
    voxel = {some.structure.label: some for some in tomogram.specimen.placed}["ribosome"].centers_angstrom / 16.0
    for z, y, x in np.rint(voxel).astype(int):
        body = tomogram.specimen.instances[z, y, x]
        assert body > 0
        inside = tomogram.specimen.instances == body
        assert tomogram.denoised[inside].mean() < -1.5 * PRESET.grey_std
    clean = -tomogram.specimen.density
    match = [np.corrcoef(clean.ravel(), volume.ravel())[0, 1] for volume in (tomogram.denoised, tomogram.wbp)]
    assert match[0] > 0.55
    assert match[0] > match[1]


def test_even_and_odd_frames_share_the_specimen_and_no_noise(tomogram):
    halved = simulate_tomogram(PRESET, 5, 3, halves=True)
    assert tomogram.even is None
    assert np.array_equal(halved.wbp, tomogram.wbp)
    assert np.array_equal(halved.denoised, tomogram.denoised)
    assert np.allclose((halved.even + halved.odd) / 2, halved.wbp, atol=1e-4 * halved.wbp.std())
    signal = take_tomogram(
        tomogram.specimen.density, 16.0, PRESET.microscope, numpy_generator(5, "microscope", 3), ice_thickness_angstrom=480.0,
        beside_angstrom=BESIDE_ANGSTROM,
    ).signal * tomogram.grey_factor  # fmt: skip
    even, odd, both = (volume - signal for volume in (halved.even, halved.odd, halved.wbp))
    assert abs(np.corrcoef(even.ravel(), odd.ravel())[0, 1]) < 0.05
    for half in (even, odd):
        assert half.var() == pytest.approx(2 * both.var(), rel=0.05)


def test_seed_and_index_decide_everything(tomogram):
    again = simulate_tomogram(PRESET, 5, 3)
    assert np.array_equal(again.wbp, tomogram.wbp)
    assert np.array_equal(again.denoised, tomogram.denoised)
    assert places(again) == places(tomogram)
    for seed, index in ((6, 3), (5, 4), (5, "3")):
        different = simulate_tomogram(PRESET, seed, index)
        assert places(different) != places(tomogram)
        assert not np.array_equal(different.defocus_um, tomogram.defocus_um)


def test_specimen_and_microscope_draw_apart(tomogram):
    tilted = simulate_tomogram(other(microscope__tilts__step_degrees=6), 5, 3)
    assert np.array_equal(tilted.specimen.density, tomogram.specimen.density)
    assert not np.array_equal(tilted.wbp, tomogram.wbp)
    fewer = simulate_tomogram(other(specimen__particles_per_class={"ribosome": 1}), 5, 3)
    assert np.array_equal(fewer.defocus_um, tomogram.defocus_um)
    assert np.array_equal(fewer.series.shifts_angstrom, tomogram.series.shifts_angstrom)
    emptier = simulate_tomogram(other(specimen__surroundings__background_protein_mg_per_ml=0), 5, 3)
    assert places(emptier) == places(tomogram)
    assert not np.array_equal(emptier.specimen.density, tomogram.specimen.density)
