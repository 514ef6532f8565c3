"""One simulated tomogram: a specimen, its tilt series, the reconstruction, and the denoised reconstruction."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from frazil.core.memory import keep_freed_memory, machine_memory
from frazil.core.seeds import numpy_generator
from frazil.io.like import Likeness
from frazil.simulation.limits import peak_bytes
from frazil.simulation.microscope.denoiser import denoise
from frazil.simulation.microscope.microscope import take_tomogram
from frazil.simulation.microscope.tilts import TiltSeries
from frazil.simulation.preset import SimulationPreset
from frazil.simulation.specimen.specimen import Specimen, build_specimen
from frazil.simulation.structures.catalog import Structure

BESIDE_ANGSTROM = 500.0  # width of what is put between opposite borders; streaks and halos are faint that far away


@dataclass(frozen=True)
class SimulatedTomogram:
    """A tomogram with the truth about it, and the seconds that each part took.

    In the weighted back-projection and after the denoiser, matter is dark, and `grey_factor` is the gray value of both for one
    unit of image contrast. The standard deviation of the latter is that of the preset. `even` and `odd` are back-projections of
    every other frame, where they were asked for: `wbp` is their mean.
    """

    specimen: Specimen
    wbp: Float[np.ndarray, "z y x"]
    denoised: Float[np.ndarray, "z y x"]
    series: TiltSeries
    defocus_um: Float[np.ndarray, "n"]
    grey_factor: float
    seconds: dict[str, float]
    even: Float[np.ndarray, "z y x"] | None = None
    odd: Float[np.ndarray, "z y x"] | None = None


def simulate_tomogram(
    preset: SimulationPreset,
    seed: int,
    index: int | str,
    *,
    like: Likeness | None = None,
    structures: Mapping[str, Structure] | None = None,
    halves: bool = False,
) -> SimulatedTomogram:
    """Simulate one tomogram; preset, seed and index decide everything. For `like` and `structures` see `build_specimen`.

    With `halves`, also from even and odd frames alone.

    Specimen and microscope have random streams of their own: changing one leaves the other.
    """
    seconds: dict[str, float] = {}
    with _timed(seconds, "specimen"):
        generator = numpy_generator(seed, "specimen", index)
        specimen = build_specimen(preset.specimen, generator, like=like, structures=structures)
    density, voxel = specimen.density, specimen.voxel_size_angstrom
    keep_freed_memory(peak_bytes(density.shape), machine_memory())
    with _timed(seconds, "microscope"):
        generator = numpy_generator(seed, "microscope", index)
        ice = preset.specimen.for_tomogram(density.shape, voxel).ice_depth_angstrom
        acquisition = take_tomogram(
            density, voxel, preset.microscope, generator, ice_thickness_angstrom=ice, beside_angstrom=BESIDE_ANGSTROM,
            halves=numpy_generator(seed, "halves", index) if halves else None,
        )  # fmt: skip
    with _timed(seconds, "denoiser"):
        noise_left = np.float32(preset.denoiser.noise_left)
        generator = numpy_generator(seed, "denoiser", index)
        denoised = denoise(acquisition.signal + noise_left * acquisition.noise, voxel, preset.denoiser, generator)
        std = float(denoised.std(dtype=np.float64))
        grey_factor = preset.grey_std / std if std > 0 else 1.0
        denoised *= np.float32(grey_factor)
    wbp = acquisition.signal
    wbp += acquisition.noise  # in place: a tomogram is large
    wbp *= np.float32(grey_factor)
    even = odd = None
    if acquisition.noise_between is not None:
        between = acquisition.noise_between * np.float32(grey_factor)
        even, odd = wbp + between, wbp - between
    return SimulatedTomogram(
        specimen, wbp, denoised, acquisition.series, acquisition.defocus_um, grey_factor, seconds, even, odd
    )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
