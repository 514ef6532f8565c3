"""What a calibration aims at: something real, how a preset is simulated to stand beside it, and what is compared.

Compared is what does not depend on orientation or chance: spectra, wedge, moments of the gray values, and mean profiles of
particles. Tomograms with picks are simulated at their places (`pieces.PieceGoal`); for slices or curves of subtomograms, specimens
of the preset are (`slices.SliceGoal`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float

from frazil.core.memory import keep_freed_memory, machine_memory
from frazil.core.seeds import numpy_generator
from frazil.io.like import Likeness
from frazil.plots.page import Page
from frazil.simulation.limits import peak_bytes
from frazil.simulation.microscope.denoiser import denoise
from frazil.simulation.microscope.microscope import image_filters, image_noise
from frazil.simulation.microscope.optics import draw_defocus_um
from frazil.simulation.microscope.projection import back_project, project
from frazil.simulation.microscope.tilts import acquire
from frazil.simulation.preset import SimulationPreset
from frazil.simulation.specimen.settings import SpecimenSettings
from frazil.simulation.specimen.specimen import build_specimen
from frazil.simulation.specimen.surroundings import add_background


@dataclass(frozen=True)
class Check:
    """One number of the report.

    Parameters
    ----------
    goal : what it was measured against.
    difference : of the simulated mean from the real mean; for curves the mean absolute difference, dex.
    spread : standard deviation of `difference` among fresh simulations; None if there is only one.
    floor : the same number between real data themselves; None if it is not known.
    tolerance : what it should stay within.
    """

    goal: str
    name: str
    difference: float
    spread: float | None
    floor: float | None
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within its tolerance."""
        return abs(self.difference) <= self.tolerance


@dataclass(frozen=True)
class Outcome:
    """How near a fitted preset comes to a goal.

    Parameters
    ----------
    page : the curves, drawn.
    grey_scale : standard deviation of the real gray values over that of the simulated ones; None where only shapes are known.
    """

    checks: list[Check]
    page: Page
    grey_scale: float | None


class Goal(Protocol):
    """Something real that simulations should look like."""

    @property
    def name(self) -> str:
        """What it is called in tables."""

    def build(self) -> None:
        """Make the specimens that `differences` needs, some minutes of work."""

    def problem(self) -> dict[str, Any]:
        """Return all that decides what is fitted to, with digests, as JSON."""

    def differences(self, preset: SimulationPreset) -> Float[np.ndarray, "n"]:
        """Return differences of a simulation with a preset in tolerances; the squares of each kind sum to their mean."""

    def check(self, preset: SimulationPreset, seeds: Iterator[int]) -> Outcome:
        """Compare with simulations that `frazil simulate` would make, one for each seed."""


class Scene:
    """A specimen with all that does not depend on the fitted numbers: a change of these costs one back-projection.

    The preset is where the fit starts, and what it leaves alone.
    """

    def __init__(
        self,
        settings: SpecimenSettings,
        preset: SimulationPreset,
        generator: Callable[[str], np.random.Generator],
        like: Likeness | None = None,
    ) -> None:
        self._generator = generator
        self._shape, self._voxel = settings.shape_voxel, settings.voxel_size_angstrom
        keep_freed_memory(peak_bytes(self._shape), machine_memory())
        self._background = max(settings.surroundings.background_protein_mg_per_ml, 1.0)
        surroundings = settings.surroundings.model_copy(update={"background_protein_mg_per_ml": 0.0})
        settings = settings.model_copy(update={"surroundings": surroundings})
        specimen = build_specimen(settings, generator("specimen"), like=like)
        self.placed = specimen.placed
        background, solid = specimen.density.copy(), specimen.instances > 0
        add_background(
            background,
            solid,
            self._background,
            self._voxel,
            settings.slab,
            generator("background"),
            clump=surroundings.background_clump,
        )
        background -= specimen.density
        self._series = acquire(preset.microscope.tilts, generator("tilts"))
        angles = self._series.true_angles_degrees.tolist()
        self._particles = project(torch.from_numpy(specimen.density), angles)
        self._globules = project(torch.from_numpy(background), angles)
        ice, optics = settings.ice_depth_angstrom, preset.microscope.optics
        self._noise = image_noise(self._shape, self._voxel, ice, self._series, optics, generator("noise"))

    def tomogram(self, preset: SimulationPreset) -> Float[np.ndarray, "z y x"]:
        """Return the denoised tomogram with a preset."""
        microscope, series = preset.microscope, self._series
        defocus_um = draw_defocus_um(microscope.optics, len(series.angles_degrees), self._generator("defocus"))
        signal_filter, noise_filter = image_filters(self._shape, self._voxel, series, defocus_um, microscope)
        # Globules at random places: their power grows with their number, so their amplitude with its root.
        amplitude = math.sqrt(preset.specimen.surroundings.background_protein_mg_per_ml / self._background)
        images = (self._particles + amplitude * self._globules) * signal_filter
        images += preset.denoiser.noise_left * self._noise * noise_filter
        tomogram = back_project(images, self._shape, series.angles_degrees.tolist()).numpy()
        return denoise(tomogram, self._voxel, preset.denoiser, self._generator("texture"))


def calibration_stream(seed: int, name: str, stream: str) -> np.random.Generator:
    """Return a random stream of a scene."""
    return numpy_generator(seed, "calibration", name, 0, stream)


def join_differences(kinds: Sequence[Float[np.ndarray, "..."]]) -> Float[np.ndarray, "n"]:
    """Return all differences; squares of each kind sum to their mean. What is not known of one side does not count."""
    known = [kind[np.isfinite(kind)] for kind in kinds]
    return np.concatenate([kind / math.sqrt(len(kind)) for kind in known if len(kind)])


def mean_of(values: Sequence[float]) -> float | None:
    """Return the mean; None of nothing."""
    return float(np.mean(values)) if len(values) else None


def spread_of(values: Sequence[float]) -> float | None:
    """Return the standard deviation among several; None of a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
