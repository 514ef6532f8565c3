import dataclasses

import numpy as np
import pytest

from frazil.core.errors import SimulationError
from frazil.core.records import Picks, Tomogram, TomogramHeader
from frazil.simulation.calibration.fit import (
    Calibration,
    Comparison,
    Piece,
    measured_piece,
    misfit,
    search,
)
from frazil.simulation.calibration.fitted import FITTED, read_number, with_numbers
from frazil.simulation.preset import load_simulation_preset
from frazil.simulation.specimen.specimen import build_specimen
from frazil.simulation.tomogram import simulate_tomogram
from frazil.volume.spectra import Curve, appearance

PRESET = load_simulation_preset("small", {"specimen.surroundings.background_protein_mg_per_ml": 1.0})


def noise(shape=(24, 20, 22)) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def piece(voxel_size_angstrom=20.0, real=None, start=(0, 30, 40), centers=((240.0, 800.0, 1000.0),)) -> Piece:
    picks = Picks("TS_1", "ribosome", np.array(centers))
    return Piece("TS_1", noise() if real is None else real, voxel_size_angstrom, start, (picks,))


@pytest.mark.parametrize(("voxel_size", "factor"), [(5.0, 1), (10.012, 1), (13.3, 2), (20.025, 2), (31.0, 3)])
def test_coarse_voxels_are_simulated_finer_by_a_whole_factor(voxel_size, factor):
    one = piece(voxel_size)
    assert one.factor == factor
    assert one.fine_angstrom * factor == pytest.approx(voxel_size)
    assert one.fine_angstrom <= 10.5


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
    settings = one.preset(PRESET).specimen
    bare = settings.model_copy(
        update={"surroundings": settings.surroundings.model_copy(update={"background_protein_mg_per_ml": 0.0})}
    )
    density = one.cut(build_specimen(bare, np.random.default_rng(0), like=like).density)
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


def test_misfit_counts_differences_in_their_tolerances():
    looks = appearance(noise())
    assert misfit([Comparison("TS_1", looks, looks, 3.0)]) == 0

    def moved(curve: Curve) -> Curve:
        return Curve(curve.at, curve.log_power + 0.1)

    off = dataclasses.replace(
        looks,
        spectra={plane: moved(curve) for plane, curve in looks.spectra.items()},
        wedge=moved(looks.wedge),
        skew=looks.skew - 0.3,
        kurtosis=looks.kurtosis + 1.5,
    )
    assert misfit([Comparison("TS_1", looks, off, 2.7)]) == pytest.approx(1)
    assert misfit([Comparison("TS_1", looks, looks, 2.7)], fine_fall_dex=3.0) == pytest.approx(1 / 7)
    # pieces are averaged: one too strong and one too weak is right
    assert misfit([Comparison("TS_1", looks, off, 2.7), Comparison("TS_2", off, looks, 3.3)]) == pytest.approx(
        0, abs=1e-20
    )


def test_the_search_finds_the_lowest_point_and_is_the_same_each_time():
    wanted = {fitted.key: np.sqrt(fitted.lowest * fitted.highest) for fitted in FITTED}
    start = {key: value * 1.3 for key, value in wanted.items()}
    visited = []

    def bowl(numbers):
        visited.append(numbers)
        return sum(np.log(numbers[key] / wanted[key]) ** 2 for key in wanted)

    found = search(start, bowl, evaluations=1500)
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=0.1)
    first = list(visited)
    visited.clear()
    search(start, bowl, evaluations=20)
    assert visited[:20] == first[:20]
    assert len(visited) <= 25


def test_the_search_stays_inside_its_bounds():
    def outwards(numbers):
        for fitted in FITTED:
            assert fitted.lowest * 0.999 <= numbers[fitted.key] <= fitted.highest * 1.001
        return -sum(np.log(value) for value in numbers.values())

    search(Calibration.start_of(PRESET), outwards, evaluations=150)


def test_nothing_to_calibrate_on_is_said():
    with pytest.raises(SimulationError, match="no measured voxels"):
        Calibration([], PRESET)


def test_a_preset_is_recognised_in_what_it_simulated():
    """Real is a simulation with other noise and orientations: its own preset fits better than any that is changed."""
    truth = with_numbers(PRESET, {"denoiser.noise_left": 0.6, "denoiser.resolution_angstrom": 25.0})
    one = piece(
        10.0, np.zeros((40, 40, 40), dtype=np.float32), start=(0, 0, 0), centers=[(150, 150, 150), (260, 300, 250)]
    )
    real = one.cut(simulate_tomogram(one.preset(truth), 5, 0, like=one.likeness()).denoised)
    calibration = Calibration([dataclasses.replace(one, real=real)], PRESET, seed=1)
    own_misfit = misfit(calibration.compare(truth))
    assert own_misfit < 1.5
    for key, factor in (
        ("denoiser.noise_left", 0.5),
        ("denoiser.resolution_angstrom", 1.6),
        ("denoiser.shrinkage", 2.5),
    ):
        other = with_numbers(truth, {key: read_number(truth, key) * factor})
        assert misfit(calibration.compare(other)) > 1.5 * own_misfit, key


def test_all_fitted_numbers_move_the_misfit():
    one = piece(10.0, noise((24, 24, 24)), start=(0, 0, 0), centers=[(120, 120, 120)])
    calibration = Calibration([one], PRESET)
    base = misfit(calibration.compare(PRESET))
    for fitted in FITTED:
        changed = with_numbers(PRESET, {fitted.key: read_number(PRESET, fitted.key) * 0.6 + 0.01})
        assert misfit(calibration.compare(changed)) != base, fitted.key
