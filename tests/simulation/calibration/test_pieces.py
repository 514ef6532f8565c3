import dataclasses

import numpy as np
import pytest

from frazil.core.records import Picks, Tomogram, TomogramHeader
from frazil.simulation.calibration.fit import FITTED, read_numbers, with_masses, with_numbers
from frazil.simulation.calibration.pieces import (
    Piece,
    PieceGoal,
    expected_shares,
    measured_piece,
    piece_checks,
    piece_differences,
)
from frazil.simulation.preset import load_simulation_preset
from frazil.simulation.specimen.specimen import build_specimen
from frazil.simulation.tomogram import simulate_tomogram
from frazil.volume.spectra import Curve, appearance

PRESET = load_simulation_preset("small", {"specimen.surroundings.background_protein_mg_per_ml": 0.0})


def piece(voxel_size_angstrom=20.0, centers=((240.0, 800.0, 1000.0),)) -> Piece:
    picks = Picks("TS_1", "ribosome", np.array(centers))
    real = np.random.default_rng(0).standard_normal((24, 20, 22)).astype(np.float32)
    return Piece("TS_1", real, voxel_size_angstrom, (0, 30, 40), (picks,), "sha256:0")


@pytest.mark.parametrize(
    ("voxel_size", "factor"), [(5.0, 1), (10.012, 1), (13.3, 1), (20.025, 2), (31.36, 2), (40.0, 3)]
)
def test_coarse_voxels_are_simulated_finer_by_a_whole_factor(voxel_size, factor):
    one = piece(voxel_size)
    assert one.factor == factor
    assert one.fine_angstrom * factor == pytest.approx(voxel_size)
    assert one.fine_angstrom <= 16


def test_what_is_cut_is_the_mean_of_the_fine_voxels_of_the_piece():
    one = piece()
    simulated = np.zeros(one.simulated_voxel, dtype=np.float32)
    z, y, x = one.margin_voxel
    simulated[z + 2 : z + 4, y + 4 : y + 6, x + 6 : x + 8] = np.arange(8).reshape(2, 2, 2)
    cut = one.cut(simulated)
    assert cut.shape == one.real.shape
    assert cut[1, 2, 3] == pytest.approx(3.5)
    assert cut.sum() == pytest.approx(3.5)


def test_a_pick_is_simulated_where_it_was_picked():
    # 1 voxel of 20 A is two of 10 A: what lies at voxel (12, 40, 50) of the real tomogram lies at (12, 10, 10) of the piece
    one = piece(centers=[(240.0, 800.0, 1000.0), (240.0, 9000.0, 1000.0)])
    like = one.likeness()
    assert sum(map(len, like.picks)) == 1, "a pick far from the piece is left out"
    density = one.cut(build_specimen(PRESET.specimen, np.random.default_rng(0), like=like).density)
    found = np.array([np.average(index, weights=density) for index in np.indices(density.shape)])
    # a pick in angstrom is at the middle of a fine voxel, half of one before the middle of the coarse one
    np.testing.assert_allclose(found, np.array([12, 10, 10]) - 0.25, atol=0.1)


def test_the_measured_piece_is_the_box_around_the_chunks_that_are_there():
    volume = np.arange(8 * 12 * 12, dtype=np.float32).reshape(8, 12, 12)
    present = np.zeros((2, 3, 3), dtype=bool)
    present[:, 1:, 2] = True
    header = TomogramHeader("TS_1", volume.shape, 10.0, "here")
    start, cut = measured_piece(Tomogram(header, volume, (4, 4, 4), present))
    assert start == (0, 4, 8)
    np.testing.assert_array_equal(cut, volume[:, 4:, 8:])
    present[0, 1, 2] = False  # a gap: the first chunk alone
    start, cut = measured_piece(Tomogram(header, volume, (4, 4, 4), present))
    assert (start, cut.shape) == ((0, 8, 8), (4, 4, 4))
    assert measured_piece(Tomogram(header, volume, (4, 4, 4), np.zeros_like(present))) is None


def test_a_large_tomogram_gives_its_middle():
    volume = np.zeros((4, 300, 140), dtype=np.float32)
    header = TomogramHeader("TS_1", volume.shape, 10.0, "here")
    start, cut = measured_piece(Tomogram(header, volume, volume.shape, np.ones((1, 1, 1), dtype=bool)))
    assert (start, cut.shape) == ((0, 86, 6), (4, 128, 128))


def test_differences_count_in_their_tolerances_each_kind_as_much():
    looks = appearance(np.random.default_rng(0).standard_normal((24, 20, 22)))

    def moved(curve: Curve) -> Curve:
        return Curve(curve.at, curve.log_power + 0.05)

    off = dataclasses.replace(
        looks,
        spectra={plane: moved(curve) for plane, curve in looks.spectra.items()},
        wedge=moved(looks.wedge),
        skew=looks.skew - 0.3,
        kurtosis=looks.kurtosis + 1.5,
    )
    assert np.square(piece_differences([looks], [looks])).sum() == 0
    assert np.square(piece_differences([looks], [off])).sum() == pytest.approx(6)
    # pieces are averaged: one too strong and one too weak is right
    np.testing.assert_allclose(piece_differences([looks, off], [off, looks]), 0, atol=1e-12)


def test_equal_pieces_have_no_difference():
    volume = np.random.default_rng(0).standard_normal((20, 20, 20))
    one, other = appearance(volume), appearance(2 * volume + 1)
    for result in piece_checks("TS_1", [one, one], [[other, other]]):
        assert result.difference == pytest.approx(0, abs=1e-9)
        assert result.floor == 0
        assert result.spread is None
        assert result.passed


def test_a_preset_is_recognized_in_what_it_simulated():
    """Real is a simulation with other noise and orientations: its own preset fits better than any that is changed."""
    preset = load_simulation_preset("small", {"specimen.surroundings.background_protein_mg_per_ml": 1.0})
    truth = with_numbers(preset, {f"denoiser.resolution_angstrom.{axis}": 25.0 for axis in "zyx"})
    centers = ((150.0, 150.0, 150.0), (260.0, 300.0, 250.0))
    one = dataclasses.replace(
        piece(10.0, centers), start_voxel=(0, 0, 0), real=np.zeros((40, 40, 40), dtype=np.float32)
    )
    real = one.cut(simulate_tomogram(truth, 5, 0, like=one.likeness()).denoised)
    goal = PieceGoal([dataclasses.replace(one, real=real)], preset, seed=1)
    goal.build()

    def misfit(numbers):
        return np.square(goal.differences(with_numbers(truth, numbers))).sum()

    own = misfit({})
    for key, factor in (("denoiser.noise_left", 0.5), ("denoiser.resolution_angstrom.x", 1.6), ("denoiser.texture", 9)):
        assert misfit({key: (read_numbers(truth)[key] or 0.05) * factor}) > 1.2 * own, key
    for fitted in FITTED:  # all of them matter
        others = {"microscope.correction.level_off": 0.3} if "level_off_" in fitted.key else {}
        others |= {"denoiser.texture": 0.3} if "texture_" in fitted.key else {}
        before = misfit(others)
        changed = read_numbers(truth)[fitted.key] * 0.6 + 0.01
        assert misfit(others | {fitted.key: changed}) != before, fitted.key


def test_a_class_of_less_mass_is_found_fainter():
    preset = load_simulation_preset(
        "small",
        {
            "specimen.shape_voxel": (64, 128, 128),
            "specimen.ice_thickness_angstrom": "full",
            "specimen.particles_per_class": {"beta-galactosidase": 16, "apo-ferritin": 12},
        },
    )
    tomogram = simulate_tomogram(with_masses(preset, {"beta-galactosidase": 233.0}), 1, 0)  # half of what it has
    picks = tuple(
        Picks("TS_1", some.structure.label, some.centers_angstrom, some.rotations)
        for some in tomogram.specimen.placed
        if len(some)
    )
    voxel = tomogram.specimen.voxel_size_angstrom
    goal = PieceGoal([Piece("TS_1", tomogram.denoised, voxel, (0, 0, 0), picks, "sha256:0")], preset, 0)
    known = load_simulation_preset(preset, {"specimen.particles_per_class": {"beta-galactosidase": 1}})
    found = goal.masses_kda(known)
    assert found["beta-galactosidase"] == (465, pytest.approx(233, abs=47))
    assert found["apo-ferritin"] == (480, pytest.approx(480, abs=48))


def test_few_particles_say_little_of_their_class():
    found = expected_shares({"few": np.array([0.7, 0.9]), "one": np.array([1.1]), "absent": np.array([-0.6, -0.6])})
    scatter = 0.01 + 0.01  # of two, whose means are known: 0.01 each
    assert found == pytest.approx(
        {"few": 1 - 0.2 * 0.04 / (0.04 + scatter / 4), "one": 1 + 0.1 * 0.04 / (0.04 + scatter / 2)}
    )
    assert expected_shares({"one": np.array([1.1])}) == {}
