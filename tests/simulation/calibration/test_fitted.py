import numpy as np
import pytest

from frazil.simulation.calibration.fitted import FITTED, read_number, with_numbers
from frazil.simulation.preset import load_simulation_preset

PRESET = load_simulation_preset("small")


def test_numbers_of_a_preset_are_read_and_replaced():
    numbers = {fitted.key: fitted.lowest * 1.5 for fitted in FITTED} | {"denoiser.noise_left": 0.25}
    changed = with_numbers(PRESET, numbers)
    for key, value in numbers.items():
        assert read_number(changed, key) == pytest.approx(value)
    width = np.subtract(*PRESET.microscope.optics.defocus_um[::-1])
    assert np.subtract(*changed.microscope.optics.defocus_um[::-1]) == pytest.approx(width), "a range keeps its width"
    assert changed.microscope.tilts == PRESET.microscope.tilts
