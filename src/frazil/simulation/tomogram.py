"""One simulated tomogram: a specimen, its tilt series, the reconstruction, and the denoised reconstruction."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from frazil.core.seeds import numpy_generator
from frazil.simulation.microscope.denoiser import denoise
from frazil.simulation.microscope.microscope import take_tomogram
from frazil.simulation.microscope.tilts import TiltSeries
from frazil.simulation.preset import SimulationPreset
from frazil.simulation.specimen.specimen import Likeness, Specimen, build_specimen
from frazil.simulation.structures.catalog import Structure

BESIDE_ANGSTROM = 500.0
"""Width of what is put between opposite borders; streaks and halos are faint that far away."""


@dataclass(frozen=True)
class SimulatedTomogram:
    """A tomogram with the truth about it.

    Parameters
    ----------
    specimen : what is in the ice.
    wbp : `(z, y, x)` weighted back-projection, matter dark.
    denoised : `(z, y, x)` the same after the denoiser; its standard deviation is that of the preset.
    series, defocus_um : how the tilt series was taken.
    grey_factor : grey values of both for one unit of image contrast.
    seconds : how long each part took.
    """

    specimen: Specimen
    wbp: Float[np.ndarray, "z y x"]
    denoised: Float[np.ndarray, "z y x"]
    series: TiltSeries
    defocus_um: Float[np.ndarray, "n"]
    grey_factor: float
    seconds: dict[str, float]


def simulate_tomogram(
    preset: SimulationPreset,
    seed: int,
    index: int | str,
    *,
    like: Likeness | None = None,
    structures: Mapping[str, Structure] | None = None,
) -> SimulatedTomogram:
    """Simulate one tomogram. Specimen and microscope have random streams of their own: changing one leaves the other.

    Parameters
    ----------
    index : number or name of the tomogram; with `seed` and the preset it decides everything.
    like, structures : see `build_specimen`.

    Raises
    ------
    SimulationError, PickError : see `build_specimen`.
    """
    seconds: dict[str, float] = {}
    with _timed(seconds, "specimen"):
        generator = numpy_generator(seed, "specimen", index)
        specimen = build_specimen(preset.specimen, generator, like=like, structures=structures)
    with _timed(seconds, "microscope"):
        settings = preset.specimen.for_tomogram(specimen.density.shape, specimen.voxel_size_angstrom)
        acquisition = take_tomogram(
            specimen.density,
            specimen.voxel_size_angstrom,
            preset.microscope,
            numpy_generator(seed, "microscope", index),
            ice_thickness_angstrom=settings.ice_depth_angstrom,
            beside_angstrom=BESIDE_ANGSTROM,
        )
    with _timed(seconds, "denoiser"):
        denoised = denoise(acquisition.signal, acquisition.noise, specimen.voxel_size_angstrom, preset.denoiser)
        std = float(denoised.std(dtype=np.float64))
        grey_factor = preset.grey_std / std if std > 0 else 1.0
        denoised *= np.float32(grey_factor)
    wbp = acquisition.signal
    wbp += acquisition.noise  # in place: a tomogram is large
    wbp *= np.float32(grey_factor)
    return SimulatedTomogram(specimen, wbp, denoised, acquisition.series, acquisition.defocus_um, grey_factor, seconds)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
