import dataclasses

import numpy as np
import pytest

from frazil.core.records import Picks
from frazil.simulation.calibration.fit import (
    FITTED,
    PreparedPiece,
    misfit,
    read_numbers,
    search,
    with_numbers,
)
from frazil.simulation.calibration.pieces import Measured, Piece
from frazil.simulation.preset import load_simulation_preset
from frazil.simulation.tomogram import simulate_tomogram
from frazil.volume.spectra import Curve, appearance

PRESET = load_simulation_preset("small", {"specimen.surroundings.background_protein_mg_per_ml": 1.0})


def noise(shape=(24, 20, 22)) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def piece(voxel_size_angstrom=20.0, real=None, start=(0, 30, 40), centers=((240.0, 800.0, 1000.0),)) -> Piece:
    picks = Picks("TS_1", "ribosome", np.array(centers))
    return Piece("TS_1", noise() if real is None else real, voxel_size_angstrom, start, (picks,))


def test_numbers_of_a_preset_are_read_and_replaced():
    numbers = {fitted.key: fitted.lowest * 1.5 for fitted in FITTED} | {"denoiser.noise_left": 0.25}
    changed = with_numbers(PRESET, numbers)
    for key, value in numbers.items():
        assert read_numbers(changed)[key] == pytest.approx(value)
    width = np.subtract(*PRESET.microscope.optics.defocus_um[::-1])
    assert np.subtract(*changed.microscope.optics.defocus_um[::-1]) == pytest.approx(width), "a range keeps its width"
    assert changed.microscope.tilts == PRESET.microscope.tilts


def test_misfit_counts_differences_in_their_tolerances():
    looks = appearance(noise())

    def moved(curve: Curve) -> Curve:
        return Curve(curve.at, curve.log_power + 0.1)

    off = dataclasses.replace(
        looks,
        spectra={plane: moved(curve) for plane, curve in looks.spectra.items()},
        wedge=moved(looks.wedge),
        skew=looks.skew - 0.3,
        kurtosis=looks.kurtosis + 1.5,
    )
    real, alike, other = (Measured(which, noise(), fall) for which, fall in ((looks, 3.3), (looks, 2.7), (off, 2.7)))
    assert misfit([(real, alike)]) == 0
    assert misfit([(real, other)]) == pytest.approx(1)
    assert misfit([(real, alike)], fine_fall_dex=3.0) == pytest.approx(1 / 7)
    # pieces are averaged: one too strong and one too weak is right
    assert misfit([(real, other), (other, real)]) == pytest.approx(0, abs=1e-20)


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

    search(read_numbers(PRESET), outwards, evaluations=150)


def test_a_preset_is_recognised_in_what_it_simulated():
    """Real is a simulation with other noise and orientations: its own preset fits better than any that is changed."""
    truth = with_numbers(PRESET, {"denoiser.noise_left": 0.6, "denoiser.resolution_angstrom": 25.0})
    one = piece(
        10.0, np.zeros((40, 40, 40), dtype=np.float32), start=(0, 0, 0), centers=[(150, 150, 150), (260, 300, 250)]
    )
    real = one.cut(simulate_tomogram(truth, 5, 0, like=one.likeness()).denoised)
    prepared = PreparedPiece(dataclasses.replace(one, real=real), PRESET, seed=1)
    own_misfit = misfit([prepared.compare(truth)])
    assert own_misfit < 1.5
    for key, factor in (
        ("denoiser.noise_left", 0.5),
        ("denoiser.resolution_angstrom", 1.6),
        ("denoiser.shrinkage", 2.5),
    ):
        other = with_numbers(truth, {key: read_numbers(truth)[key] * factor})
        assert misfit([prepared.compare(other)]) > 1.5 * own_misfit, key


def test_all_fitted_numbers_move_the_misfit():
    one = piece(10.0, noise((24, 24, 24)), start=(0, 0, 0), centers=[(120, 120, 120)])
    prepared = PreparedPiece(one, PRESET, seed=0)
    base = misfit([prepared.compare(PRESET)])
    for fitted in FITTED:
        changed = with_numbers(PRESET, {fitted.key: read_numbers(PRESET)[fitted.key] * 0.6 + 0.01})
        assert misfit([prepared.compare(changed)]) != base, fitted.key
