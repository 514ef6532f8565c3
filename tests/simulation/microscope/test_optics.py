import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch_ctf import calculate_relativistic_electron_wavelength

from frazil.core.seeds import numpy_generator
from frazil.simulation.microscope.optics import (
    CorrectionSettings,
    OpticsSettings,
    contrast_transfer,
    correction_filter,
    damage,
    draw_defocus_um,
    interaction_radian_per_volt_angstrom,
    noise_std,
)
from frazil.simulation.microscope.tilts import TiltSeries, TiltSettings, acquire
from frazil.simulation.structures.structure import VOLT_ANGSTROM3_PER_DALTON

# Lens without aberration, all contrast from phase: the CTF is sin(pi lambda defocus s^2).
PLAIN = OpticsSettings(spherical_aberration_mm=0, amplitude_contrast=0)
NO_CORRECTION = CorrectionSettings(ctf="none", dose_weighting=False)


def wavelength_angstrom(voltage_kv: float) -> float:
    """Return de Broglie's, by the textbook's relativistic formula."""
    volt = voltage_kv * 1e3
    return 12.2643 / math.sqrt(volt + 0.978476e-6 * volt**2)


def ctf(frequency, defocus_um: float, settings: OpticsSettings) -> np.ndarray:
    squared = torch.as_tensor(frequency, dtype=torch.float64).square()
    return contrast_transfer(squared, torch.tensor(defocus_um, dtype=torch.float64), settings).numpy()


def series(**changes) -> TiltSeries:
    return acquire(TiltSettings(**changes), numpy_generator(0, "tilts"))


def frequencies_squared(count: int, *, tilts: int = 1) -> torch.Tensor:
    """Return (tilt, 1, count) squared frequencies, the same for all tilts, up to 1 / 10 A."""
    line = torch.linspace(0, 0.1, count, dtype=torch.float64).square()
    return line.expand(tilts, 1, count)


def correction(transfer: torch.Tensor, squared: torch.Tensor, tilts: TiltSeries, **changes) -> torch.Tensor:
    settings = NO_CORRECTION.model_copy(update=changes)
    return correction_filter(transfer, squared, tilts, OpticsSettings(), settings)


# --- published numbers


@pytest.mark.parametrize(("voltage", "wavelength", "interaction"), [(300, 0.0197, 6.53e-4), (200, 0.0251, 7.29e-4)])
def test_published_constants_of_electrons(voltage, wavelength, interaction):
    """Radian per volt and angstrom; Kirkland, table of the interaction parameter."""
    assert float(calculate_relativistic_electron_wavelength(voltage * 1e3)) * 1e10 == pytest.approx(
        wavelength, abs=5e-5
    )
    assert interaction_radian_per_volt_angstrom(voltage) == pytest.approx(interaction, abs=5e-7)


def test_protein_scatters_as_its_atoms_do():
    """Mean inner potential over ice from scattering factors at zero angle (angstrom, neutral atoms), 47.878 V A^2 each."""
    factors = {"H": 0.529, "C": 2.509, "N": 2.211, "O": 1.983, "S": 5.161}
    daltons = {"H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "S": 32.06}
    by_mass = {"H": 0.07, "C": 0.53, "N": 0.16, "O": 0.23, "S": 0.01}  # of protein
    per_dalton = 47.878 * sum(share / daltons[atom] * factors[atom] for atom, share in by_mass.items())
    ice = 47.878 * (2 * factors["H"] + factors["O"]) / 18.015 * 0.93 * 0.6022  # volt at 0.93 g / cm^3
    assert per_dalton - ice / 0.81 == pytest.approx(VOLT_ANGSTROM3_PER_DALTON, rel=0.05)


# --- contrast transfer


@pytest.mark.parametrize(
    ("voltage", "aberration", "amplitude", "shift", "defocus"),
    [
        (300, 2.7, 0.07, 0, 3.5),
        (300, 2.7, 0.1, 90, 0.8),
        (200, 1.2, 0.07, 35, 2.0),
        (200, 0.01, 0.0, 0, 1.0),
        (300, 4.0, 0.0, 0, 0.2),
    ],
)
def test_zeros_lie_where_theory_puts_them(voltage, aberration, amplitude, shift, defocus):
    """pi lambda D s^2 - pi / 2 C lambda^3 s^4 + phase plate + asin(amplitude contrast) = n pi, solved for s^2."""
    settings = OpticsSettings(
        voltage_kv=voltage,
        spherical_aberration_mm=aberration,
        amplitude_contrast=amplitude,
        phase_shift_degrees=shift,
    )
    wavelength = wavelength_angstrom(voltage)
    quadratic, linear = math.pi / 2 * aberration * 1e7 * wavelength**3, math.pi * wavelength * defocus * 1e4
    constant = math.radians(shift) + math.asin(amplitude)
    highest = constant + linear**2 / (4 * quadratic)  # where the phase turns back
    zeros = []
    for n in range(1, 6):
        if n * math.pi > highest:
            break
        root = math.sqrt(linear**2 - 4 * quadratic * (n * math.pi - constant))
        zeros.append(math.sqrt((linear - root) / (2 * quadratic)))
    assert zeros or highest < math.pi
    assert np.abs(ctf(zeros, defocus, settings)).max(initial=0) < 5e-4
    phase = np.linspace(0, min(highest, 5 * math.pi) * 0.999, 40)
    between = np.sqrt((linear - np.sqrt(linear**2 - 4 * quadratic * np.maximum(phase - constant, 0))) / (2 * quadratic))
    expected = np.sin(np.maximum(phase, constant))
    np.testing.assert_allclose(ctf(between, defocus, settings), expected, atol=1e-3)


def test_matter_is_dark_in_underfocus_and_bright_in_overfocus():
    low = np.linspace(0.002, 0.03, 20)
    assert ctf(low, 3.0, PLAIN).min() > 0
    np.testing.assert_allclose(ctf(low, -3.0, PLAIN), -ctf(low, 3.0, PLAIN), atol=1e-9)


def test_at_frequency_zero_is_amplitude_contrast_and_with_a_phase_plate_the_rest():
    optics = OpticsSettings(amplitude_contrast=0.1)
    assert ctf(0.0, 3.5, optics) == pytest.approx(0.1, abs=1e-6)
    plate = OpticsSettings(amplitude_contrast=0.1, phase_shift_degrees=90)
    assert ctf(0.0, 3.5, plate) == pytest.approx(math.sqrt(1 - 0.01), abs=1e-6)


def test_the_envelope():
    """exp(-B s^2 / 4): at B = 800 A^2 and 1 / 20 A it is exp(-1/2)."""
    blurred = ctf(0.05, 3.1, PLAIN.model_copy(update={"b_factor_angstrom2": 800.0}))
    assert blurred / ctf(0.05, 3.1, PLAIN) == pytest.approx(math.exp(-0.5))


def test_defocus_is_drawn_by_series_and_trembles_by_image():
    still = OpticsSettings(defocus_um=(2.0, 4.0))
    means = [draw_defocus_um(still, 5, numpy_generator(seed, "defocus")) for seed in range(40)]
    assert all(np.ptp(images) == 0 for images in means)
    drawn = np.array([images[0] for images in means])
    assert drawn.min() < 2.5 < 3.5 < drawn.max()
    assert np.all((drawn >= 2) & (drawn <= 4))
    trembling = draw_defocus_um(
        OpticsSettings(defocus_um=(3, 3), defocus_jitter_um=0.1), 1000, numpy_generator(0, "defocus")
    )
    assert trembling.mean() == pytest.approx(3, abs=0.02)
    assert trembling.std() == pytest.approx(0.1, rel=0.1)


# --- damage


@pytest.mark.parametrize(("resolution", "critical"), [(10.0, 14.14), (3.0, 4.336), (20.0, 38.73)])
def test_damage_is_that_of_grant_and_grigorieff(resolution, critical):
    """N_c = 0.245 s^-1.665 + 2.81; an amplitude falls with half the exponent of a power."""
    squared = torch.tensor(1 / resolution**2, dtype=torch.float64)
    for dose in (0.0, 7.0, 63.0):
        left = damage(squared, torch.tensor(dose, dtype=torch.float64), OpticsSettings())
        assert float(left) == pytest.approx(math.exp(-dose / (2 * critical)), rel=2e-3)


def test_slower_electrons_do_more_harm():
    """A fifth less is borne at 200 kV, and at 100 kV a fifth less again."""
    squared, dose = torch.tensor(0.01, dtype=torch.float64), torch.tensor(20.0, dtype=torch.float64)
    fast, medium, slow = (math.log(damage(squared, dose, OpticsSettings(voltage_kv=kv))) for kv in (300, 200, 100))
    assert fast / medium == pytest.approx(0.8)
    assert medium / slow == pytest.approx(0.8)


def test_nothing_is_lost_at_frequency_zero_or_where_damage_is_off():
    dose = torch.tensor([[10.0], [60.0]], dtype=torch.float64)
    squared = torch.tensor([0.0, 0.01], dtype=torch.float64)
    kept = damage(squared, dose, OpticsSettings())
    assert kept[:, 0].tolist() == pytest.approx([1, 1])
    assert kept[1, 1] < kept[0, 1] < 1
    assert torch.equal(
        damage(squared, dose, OpticsSettings(radiation_damage=False)), torch.ones(2, 2, dtype=torch.float64)
    )


# --- noise


def test_shot_noise_by_hand():
    """2 e/A^2 on 10 A pixels are 200 electrons; 0.8 are seen; through 1550 A of ice, half a free path, exp(-0.5) come."""
    tilts = series(range_degrees=(-60, 60), step_degrees=60, dose_e_per_angstrom2=6)
    stds = noise_std(tilts, 10.0, 1550.0, OpticsSettings(detective_quantum_efficiency=0.8))
    assert stds[0] == pytest.approx(1 / math.sqrt(200 * 0.8 * math.exp(-0.5)))
    assert stds[1:] == pytest.approx([1 / math.sqrt(200 * 0.8 * math.exp(-1.0))] * 2)  # at 60 degrees the path is twice


# --- correction


def test_phase_flip_gives_every_frequency_the_right_sign_and_keeps_its_strength():
    squared = frequencies_squared(200, tilts=31)
    transfer = contrast_transfer(squared, torch.tensor(3.5, dtype=torch.float64), OpticsSettings())
    assert (transfer < 0).any()
    corrected = transfer * correction(transfer, squared, series(), ctf="phase-flip")
    torch.testing.assert_close(corrected, transfer.abs())
    overfocus = contrast_transfer(squared, torch.tensor(-3.5, dtype=torch.float64), PLAIN)
    assert (overfocus * correction(overfocus, squared, series(), ctf="phase-flip")).min() >= 0


def test_the_wiener_filter_divides_what_is_strong_and_drops_what_is_faint():
    squared = frequencies_squared(50, tilts=31)
    transfer = contrast_transfer(squared, torch.tensor(3.5, dtype=torch.float64), OpticsSettings())

    def corrected(snr: float, falloff: float = 0.0) -> torch.Tensor:
        return transfer * correction(
            transfer, squared, series(), ctf="wiener", wiener_snr=snr, wiener_falloff_angstrom=falloff
        )

    far_from_zeros = transfer.abs() > 0.05
    assert (corrected(1e9)[far_from_zeros] - 1).abs().max() < 1e-6
    torch.testing.assert_close(corrected(1e-9), 1e-9 * transfer.square(), rtol=1e-6, atol=0)
    torch.testing.assert_close(corrected(4.0), transfer.square() / (transfer.square() + 0.25))
    expected = transfer.square() / (transfer.square() + torch.exp(squared.sqrt() * 30) / 4)
    torch.testing.assert_close(corrected(4.0, 30.0), expected)


def test_dose_weights_prefer_early_images_and_do_not_blur():
    """Their mean square is 1 at every frequency; between two images they stand as the damage does."""
    tilts, squared = series(), frequencies_squared(40, tilts=31)
    weights = correction(torch.ones_like(squared), squared, tilts, dose_weighting=True)
    torch.testing.assert_close(weights.square().mean(0), torch.ones(1, 40, dtype=torch.float64))
    assert (weights[1:, 0, 1:] < weights[:-1, 0, 1:]).all()  # images are in the order of acquisition
    middle = torch.from_numpy(tilts.dose_before_e_per_angstrom2) + tilts.dose_e_per_angstrom2 / 2
    kept = damage(squared, middle[:, None, None], OpticsSettings())
    torch.testing.assert_close(weights[30] / weights[0], kept[30] / kept[0])


def test_dose_weights_are_for_every_specimen_even_one_that_does_not_suffer():
    squared = frequencies_squared(5, tilts=31)
    settings = CorrectionSettings(ctf="none")
    hard, soft = (
        correction_filter(
            torch.ones_like(squared), squared, series(), OpticsSettings(radiation_damage=suffers), settings
        )
        for suffers in (False, True)
    )
    assert torch.equal(hard, soft)


def test_dose_weights_bear_any_dose():
    """Weights whose squares are all nothing in float64 are still weights."""
    tilts, squared = series(dose_e_per_angstrom2=1e6), frequencies_squared(5, tilts=31)
    weights = correction(torch.ones_like(squared), squared, tilts, dose_weighting=True)
    torch.testing.assert_close(weights.square().mean(0), torch.ones(1, 5, dtype=torch.float64))


def test_steep_images_can_count_less():
    tilts, squared = series(order="one-way"), frequencies_squared(4, tilts=31)
    weights = correction(torch.ones_like(squared), squared, tilts, tilt_weight=2.0)[:, 0, 0]
    np.testing.assert_allclose(weights, np.cos(np.radians(np.arange(-45, 46, 3))) ** 2)


# --- bad input


def test_a_defocus_range_upside_down_is_refused():
    with pytest.raises(ValidationError, match="defocus 4,3 um: lowest above highest"):
        OpticsSettings(defocus_um=(4, 3))
