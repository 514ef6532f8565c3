import numpy as np
import pytest

from frazil.core.errors import SettingsError
from frazil.core.slices import SliceSet
from frazil.dataset.slices import RealSlices
from frazil.simulation.calibration.slices import SliceGoal, measure_particles, scene_settings, slice_differences
from frazil.simulation.preset import load_simulation_preset
from frazil.simulation.tomogram import simulate_tomogram
from frazil.volume.slices import curve_distances, measure_slices

PRESET = load_simulation_preset(
    "small",
    {"specimen.shape_voxel": (40, 64, 64), "specimen.particles_per_class": "apo-ferritin=8,beta-galactosidase=4"},
)


def boxes(tomogram, edge=24) -> SliceSet:
    """Return the slices around all particles that are far enough from the borders."""
    volumes, labels = [], []
    for particles in tomogram.specimen.placed:
        for center in particles.centers_angstrom:
            z, y, x = np.rint(center / tomogram.specimen.voxel_size_angstrom).astype(int) - edge // 2
            box = tomogram.denoised[max(z, 0) : z + edge, max(y, 0) : y + edge, max(x, 0) : x + edge]
            if box.shape == (edge,) * 3:
                volumes.append(box)
                labels.append(particles.structure.label)
    return SliceSet.of_volumes(volumes, labels, tomogram.specimen.voxel_size_angstrom)


@pytest.fixture(scope="module")
def real() -> RealSlices:
    measured = measure_slices(boxes(simulate_tomogram(PRESET, 3, 0)))
    return RealSlices(measured.curves(), measured)


def test_specimens_are_as_crowded_as_the_preset(real):
    settings = scene_settings(PRESET.specimen, real.curves)
    assert settings.shape_voxel == (40, 80, 80)
    assert settings.particles_per_class == {"apo-ferritin": 13, "beta-galactosidase": 7}
    concentrations = PRESET.specimen.model_copy(
        update={"particles_per_class": None, "concentrations": {"apo-ferritin": 9.0}}
    )
    assert scene_settings(concentrations, real.curves).concentrations == {"apo-ferritin": 9.0}


def test_subtomograms_are_those_around_the_particles(real):
    tomogram = simulate_tomogram(PRESET, 3, 0)
    again = measure_particles([(tomogram.denoised, tomogram.specimen.placed)], real)
    assert again.per_class == real.curves.per_class
    assert curve_distances(again, real.curves)["spectrum"] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(slice_differences(real.curves, again), 0, atol=1e-5)


def test_each_kind_of_difference_counts_its_mean_square(real):
    changed = real.curves.model_copy(
        update={"skew": real.curves.skew + 0.1, "background_std": real.curves.background_std - 0.03}
    )
    assert np.square(slice_differences(real.curves, changed)).sum() == pytest.approx(2)


def test_a_preset_is_recognized_in_its_slices(real):
    goal = SliceGoal(real, PRESET, seed=1)
    goal.build()
    own = np.square(goal.differences(PRESET)).sum()
    blurred = PRESET.model_copy(
        update={"denoiser": PRESET.denoiser.model_copy(update={"resolution_angstrom": (60, 60, 60)})}
    )
    assert np.square(goal.differences(blurred)).sum() > 3 * own
    outcome = goal.check(PRESET, iter([7, 8]))
    assert outcome.grey_scale is None
    by_name = {check.name: check for check in outcome.checks}
    assert by_name["spectrum"].difference < 0.3
    assert by_name["spectrum"].floor > 0
    assert by_name["spectrum"].spread > 0


def test_a_class_that_the_preset_lacks_is_named(real):
    fewer = PRESET.model_copy(
        update={"specimen": PRESET.specimen.model_copy(update={"particles_per_class": {"ribosome": 3}})}
    )
    with pytest.raises(SettingsError, match="apo-ferritin, beta-galactosidase"):
        SliceGoal(real, fewer, seed=0)
