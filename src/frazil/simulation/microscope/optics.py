"""From projected mass to image contrast: contrast transfer, radiation damage, detector noise, and the correction of the first.

Weak-phase approximation: the contrast of an image is ``2 sigma V`` times the contrast transfer function, where V is the projected
potential over that of the ice. One defocus holds for a whole image; its gradient across a tilted slab is left out.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor
from torch_ctf import calculate_relativistic_electron_wavelength
from torch_ctf.ctf_utils import calculate_total_phase_shift
from torch_fourier_filter.dose_weight import critical_exposure

from frazil.core.settings import Settings
from frazil.simulation.microscope.tilts import TiltSeries
from frazil.simulation.text import Pair


class OpticsSettings(Settings):
    """The microscope's optics and detector. The defaults are a 300 kV instrument with an energy filter.

    Parameters
    ----------
    voltage_kv, spherical_aberration_mm, amplitude_contrast : as in any CTF; amplitude contrast is a share (0.07 to 0.1).
    phase_shift_degrees : of a phase plate; 0 without one.
    defocus_um : lowest and highest mean defocus of a tilt series, underfocus positive; each series draws its own.
    defocus_jitter_um : standard deviation of the defocus of an image about the mean of its series.
    contrast : share of the theoretical contrast that images show. Theory, here as in other simulators, predicts more than
        microscopes deliver (inelastic scattering, charging, solvent, motion); about one half looks real.
    b_factor_angstrom2 : envelope ``exp(-B s^2 / 4)`` of drift, beam and whatever else blurs an image.
    radiation_damage : fade high frequencies with the dose before and during an image (Grant & Grigorieff 2015).
    detective_quantum_efficiency : of the detector at low frequency, where binned images live.
    mean_free_path_angstrom : of inelastic scattering in ice; scattered electrons end in the energy filter.
    """

    voltage_kv: float = Field(300.0, gt=0)
    spherical_aberration_mm: float = Field(2.7, ge=0)
    amplitude_contrast: float = Field(0.07, ge=0, lt=1)
    phase_shift_degrees: float = Field(0.0, ge=0, le=180)
    defocus_um: Pair = (3.0, 4.0)
    defocus_jitter_um: float = Field(0.0, ge=0, le=100)
    contrast: float = Field(1.0, gt=0, le=1)
    b_factor_angstrom2: float = Field(0.0, ge=0, le=1e6)
    radiation_damage: bool = True
    detective_quantum_efficiency: float = Field(0.8, gt=0, le=1)
    mean_free_path_angstrom: float = Field(3100.0, gt=0)

    @model_validator(mode="after")
    def _possible(self) -> OpticsSettings:
        lowest, highest = self.defocus_um
        if max(abs(lowest), abs(highest)) > 100:
            raise ValueError(f"defocus {lowest:g},{highest:g} um: keep both within -100 and 100")
        if lowest > highest:
            raise ValueError(f"defocus {lowest:g},{highest:g} um: lowest above highest; write it as LOWEST,HIGHEST")
        return self


class CorrectionSettings(Settings):
    """How images are corrected before back-projection.

    Parameters
    ----------
    ctf : ``none``, ``phase-flip``, or ``wiener``: division by the CTF, damped where ``1 / snr`` says that noise dominates.
    wiener_snr : signal-to-noise ratio of power that the Wiener filter assumes at frequency 0.
    wiener_falloff_angstrom : the assumed ratio falls as ``exp(-s * falloff)`` with spatial frequency s.
    dose_weighting : weight each frequency of an image by what the dose has left of it.
    tilt_weight : images are weighted with the cosine of their tilt to this power.
    weighting : what back-projection weights frequencies with: the ``ramp`` |kx|; the ``exact`` filter, which levels off where
        neighboring tilts no longer overlap (Harauz & van Heel 1986); or ``sirt``, which looks like that many iterations
        of SIRT (Zeng 2012).
    exact_thickness_angstrom : of the object that the exact filter is made for; None is the depth of the tomogram. Less leaves more
        of the lowest frequencies.
    sirt_iterations : fewer emphasize low frequencies.
    level_off_angstrom : beyond this resolution the weighting grows more slowly, by the frequency to the power `level_off`.
    level_off : 0 leaves the weighting as it is; 1 makes a ramp level.
    """

    ctf: Literal["none", "phase-flip", "wiener"] = "phase-flip"
    wiener_snr: float = Field(10.0, gt=0)
    wiener_falloff_angstrom: float = Field(50.0, ge=0)
    dose_weighting: bool = True
    tilt_weight: float = Field(0.0, ge=0)
    weighting: Literal["ramp", "exact", "sirt"] = "ramp"
    exact_thickness_angstrom: float | None = Field(None, gt=0)
    sirt_iterations: int = Field(10, ge=1, le=100_000)
    level_off_angstrom: float = Field(60.0, gt=0)
    level_off: float = Field(0.0, ge=0, le=1)


def draw_defocus_um(settings: OpticsSettings, count: int, generator: np.random.Generator) -> Float[np.ndarray, "n"]:
    """Return the defocus of each of `count` images of a series."""
    mean = generator.uniform(*settings.defocus_um)
    return mean + settings.defocus_jitter_um * generator.standard_normal(count)


def contrast_transfer(
    frequency_squared: Float[Tensor, "..."], defocus_um: Float[Tensor, "..."], settings: OpticsSettings
) -> Float[Tensor, "..."]:
    """Return the CTF, positive at low frequency in underfocus: matter is dark there; its contrast is ``-2 sigma V`` times this.

    Frequencies, 1 / angstrom^2, broadcast against the defocus.
    """
    phase = calculate_total_phase_shift(
        defocus_um=defocus_um,
        voltage_kv=torch.as_tensor(settings.voltage_kv),
        spherical_aberration_mm=torch.as_tensor(settings.spherical_aberration_mm),
        phase_shift_degrees=torch.as_tensor(settings.phase_shift_degrees),
        amplitude_contrast_fraction=torch.as_tensor(settings.amplitude_contrast),
        fftfreq_grid_angstrom_squared=frequency_squared,
    )
    envelope = torch.exp(-settings.b_factor_angstrom2 / 4 * frequency_squared)
    return torch.sin(-phase) * envelope


def damage(
    frequency_squared: Float[Tensor, "..."], dose_e_per_angstrom2: Float[Tensor, "..."], settings: OpticsSettings
) -> Float[Tensor, "..."]:
    """Return the amplitude that a dose leaves: ``exp(-N / 2 N_c(s))`` (Grant & Grigorieff 2015, eq. 2 and 5)."""
    if not settings.radiation_damage:
        return torch.ones_like(frequency_squared * dose_e_per_angstrom2)
    # Measured at 300 kV; slower electrons do more harm: at 200 kV a specimen bears a fifth less, at 100 kV another (as in RELION).
    tolerance = 1.0 if settings.voltage_kv >= 250 else 0.8 if settings.voltage_kv >= 150 else 0.64
    critical = tolerance * critical_exposure(frequency_squared.sqrt())
    return torch.exp(-dose_e_per_angstrom2 / (2 * critical))


def interaction_radian_per_volt_angstrom(voltage_kv: float) -> float:
    """Return sigma, the phase shift of an electron per volt and angstrom: 6.53e-4 rad/(V A) at 300 kV."""
    wavelength_angstrom = float(calculate_relativistic_electron_wavelength(voltage_kv * 1e3)) * 1e10
    rest_kev = 510.999
    return (
        2 * math.pi / (wavelength_angstrom * voltage_kv * 1e3) * (rest_kev + voltage_kv) / (2 * rest_kev + voltage_kv)
    )


def noise_std(
    series: TiltSeries, voxel_size_angstrom: float, ice_thickness_angstrom: float, settings: OpticsSettings
) -> Float[np.ndarray, "n"]:
    """Return the standard deviation of the contrast of a pixel of each image: the shot noise of the counted electrons."""
    path_angstrom = ice_thickness_angstrom / np.cos(np.radians(series.true_angles_degrees))
    passed = np.exp(-path_angstrom / settings.mean_free_path_angstrom)
    counted = series.dose_e_per_angstrom2 * voxel_size_angstrom**2 * passed * settings.detective_quantum_efficiency
    return np.asarray(1 / np.sqrt(counted))


def correction_filter(
    transfer: Float[Tensor, "tilt ky kx"],
    frequency_squared: Float[Tensor, "tilt ky kx"],
    series: TiltSeries,
    optics: OpticsSettings,
    settings: CorrectionSettings,
) -> Float[Tensor, "tilt ky kx"]:
    """Return what an image with this CTF (`contrast_transfer`) is multiplied with before back-projection."""
    if settings.ctf == "phase-flip":
        filters = transfer.sign()
    elif settings.ctf == "wiener":
        snr = settings.wiener_snr * torch.exp(-settings.wiener_falloff_angstrom * frequency_squared.sqrt())
        filters = transfer / (transfer.square() + 1 / snr)
    else:
        filters = torch.ones_like(transfer)
    cosine = torch.from_numpy(np.cos(np.radians(series.angles_degrees)))[:, None, None]
    filters = filters * cosine**settings.tilt_weight
    if settings.dose_weighting:
        middle = torch.from_numpy(series.dose_before_e_per_angstrom2 + series.dose_e_per_angstrom2 / 2)
        middle = middle - middle.min()  # what all images have lost cancels below, or leaves 0 / 0
        kept = damage(frequency_squared, middle[:, None, None], optics.model_copy(update={"radiation_damage": True}))
        # The weights at a frequency keep their mean square, so that the filter does not blur (ibid., eq. 9).
        filters = filters * kept / kept.square().mean(dim=0, keepdim=True).sqrt()
    return filters
