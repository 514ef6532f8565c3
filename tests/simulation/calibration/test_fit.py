import numpy as np
import pytest

from frazil.simulation.calibration.fit import FITTED, read_numbers, search, with_numbers
from frazil.simulation.preset import load_simulation_preset

PRESET = load_simulation_preset("small")


def test_numbers_of_a_preset_are_read_and_replaced():
    numbers = {fitted.key: fitted.lowest * 1.5 for fitted in FITTED} | {"denoiser.noise_left": 0.25}
    numbers |= {f"denoiser.resolution_angstrom.{axis}": 20 + number for number, axis in enumerate("zyx")}
    changed = with_numbers(PRESET, numbers)
    for key, value in numbers.items():
        assert read_numbers(changed)[key] == pytest.approx(value)
    assert changed.denoiser.resolution_angstrom == (20, 21, 22)
    width = np.subtract(*PRESET.microscope.optics.defocus_um[::-1])
    assert np.subtract(*changed.microscope.optics.defocus_um[::-1]) == pytest.approx(width), "a range keeps its width"
    assert changed.microscope.tilts == PRESET.microscope.tilts


def test_the_search_finds_the_lowest_point_and_is_the_same_each_time():
    wanted = {fitted.key: np.sqrt(fitted.lowest * fitted.highest) for fitted in FITTED}
    start = {key: value * 1.3 for key, value in wanted.items()}
    visited = []

    def bowl(numbers):
        visited.append(numbers)
        return np.array([np.log(numbers[key] / wanted[key]) for key in wanted])

    found = search(start, bowl, evaluations=100)
    assert len(visited) <= 100
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=0.01)
    first = list(visited)
    visited.clear()
    search(start, bowl, evaluations=20)
    assert visited == first[:20]


def test_the_search_stays_inside_its_bounds():
    def outwards(numbers):
        for fitted in FITTED:
            assert fitted.lowest * 0.999 <= numbers[fitted.key] <= fitted.highest * 1.001
        return np.array([30 - np.log(value) for value in numbers.values()])

    found = search(read_numbers(PRESET), outwards, evaluations=150)
    assert found["denoiser.noise_left"] == pytest.approx(1.0, rel=0.01)
