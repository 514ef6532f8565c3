"""Calibration: which acquisition and which denoiser make simulated tomograms look like real ones.

The picks of a real tomogram are simulated at their places, the piece that was really measured is cut out of the simulation, and
the two are compared by what does not depend on orientation or chance: spectra, wedge, skew and kurtosis of the grey values
(`frazil.volume.spectra`). The fit moves a few physical numbers of a preset; nothing is fitted voxel by voxel.

Where real voxels are coarser than 10 A the simulation is finer by a whole factor and averaged, so that the fitted numbers hold
at the finer voxel. What the coarse voxels cannot show, the low-pass beyond their Nyquist frequency, can be told as one number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
import torch
from jaxtyping import Float

from frazil.core.errors import SimulationError
from frazil.core.records import Picks, Tomogram, TomogramHeader
from frazil.core.seeds import numpy_generator
from frazil.simulation.calibration.fitted import FITTED, read_number, with_numbers
from frazil.simulation.microscope.denoiser import smooth_and_restrain
from frazil.simulation.microscope.microscope import image_filters, image_noise
from frazil.simulation.microscope.optics import draw_defocus_um
from frazil.simulation.microscope.projection import back_project, project
from frazil.simulation.microscope.tilts import acquire
from frazil.simulation.preset import SimulationPreset
from frazil.simulation.specimen.specimen import Likeness, build_specimen
from frazil.simulation.specimen.surroundings import add_background
from frazil.volume.spectra import CURVES, Appearance, CurveName, appearance, radial_curve, slice_power

_FINE_ANGSTROM = 10.5  # a voxel at most this large is simulated as it is
_MARGIN_ANGSTROM = 640.0  # around a piece: what is there sends its streaks and halos in
_LARGEST_VOXEL = 128  # of a piece along y and x

SKEW_SCALE, KURTOSIS_SCALE = 0.3, 1.5
"""Differences of skew and excess kurtosis that count as much as 0.1 dex of a spectrum."""

FALL_SCALE_DEX = 0.3
"""The same for the fall of power at the finer voxel, which is known to a digit at best."""


@dataclass(frozen=True)
class Piece:
    """A piece of a real tomogram and what was picked in and around it.

    Parameters
    ----------
    run : name of the real run.
    real : `(z, y, x)` measured grey values; the whole depth of the tomogram.
    voxel_size_angstrom : of the real voxels.
    start_voxel : place of the piece in its tomogram, zyx.
    picks : of the run, in its tomogram's coordinates.
    """

    run: str
    real: Float[np.ndarray, "z y x"]
    voxel_size_angstrom: float
    start_voxel: tuple[int, int, int]
    picks: tuple[Picks, ...]

    @property
    def factor(self) -> int:
        """How many simulated voxels go into a real one along each axis."""
        return math.ceil(self.voxel_size_angstrom / _FINE_ANGSTROM)

    @property
    def fine_angstrom(self) -> float:
        """Edge of a simulated voxel."""
        return self.voxel_size_angstrom / self.factor

    @property
    def margin_voxel(self) -> tuple[int, int, int]:
        """Simulated voxels before the piece, zyx."""
        margin = round(_MARGIN_ANGSTROM / self.fine_angstrom)
        return (0, margin, margin)

    @property
    def simulated_voxel(self) -> tuple[int, int, int]:
        """Shape of what is simulated: the piece and its surroundings."""
        z, y, x = (
            self.factor * edge + 2 * margin for edge, margin in zip(self.real.shape, self.margin_voxel, strict=True)
        )
        return (z, scipy.fft.next_fast_len(y, real=True), scipy.fft.next_fast_len(x, real=True))

    def likeness(self) -> Likeness:
        """Return the picks as they lie in what is simulated; those outside are left out."""
        start_voxel = self.factor * np.asarray(self.start_voxel) - np.asarray(self.margin_voxel)
        highest = np.asarray(self.simulated_voxel) - 0.5
        inside = []
        for some in self.picks:
            voxels = some.centers_angstrom / self.fine_angstrom - start_voxel
            kept = ((voxels > -0.5) & (voxels < highest)).all(axis=1)
            rotations = None if some.rotations is None else some.rotations[kept]
            if kept.any():
                inside.append(Picks(some.run, some.label, voxels[kept] * self.fine_angstrom, rotations))
        header = TomogramHeader(self.run, self.simulated_voxel, self.fine_angstrom, origin=f"{self.run}, simulated")
        return Likeness(header, inside)

    def preset(self, preset: SimulationPreset) -> SimulationPreset:
        """Return the preset for what is simulated: its shape and voxel size, and ice no thicker than the tomogram."""
        specimen = preset.specimen
        depth_angstrom = self.simulated_voxel[0] * self.fine_angstrom
        if specimen.ice_thickness_angstrom is not None and specimen.ice_thickness_angstrom > depth_angstrom:
            specimen = specimen.model_copy(update={"ice_thickness_angstrom": None})
        return preset.model_copy(update={"specimen": specimen.for_tomogram(self.simulated_voxel, self.fine_angstrom)})

    def cut(self, simulated: Float[np.ndarray, "Z Y X"]) -> Float[np.ndarray, "z y x"]:
        """Return the part of a simulation that stands for the piece, averaged to its voxels."""
        z, y, x = self.real.shape
        blocks = self.cut_fine(simulated).reshape(z, self.factor, y, self.factor, x, self.factor)
        return np.asarray(blocks.mean(axis=(1, 3, 5)))

    def cut_fine(self, simulated: Float[np.ndarray, "Z Y X"]) -> Float[np.ndarray, "z y x"]:
        """Return the part of a simulation that stands for the piece."""
        slices = tuple(
            slice(margin, margin + self.factor * edge)
            for margin, edge in zip(self.margin_voxel, self.real.shape, strict=True)
        )
        return simulated[slices]


def measured_piece(tomogram: Tomogram) -> tuple[tuple[int, int, int], Float[np.ndarray, "z y x"]] | None:
    """Return where a tomogram was measured and what it holds there; at most 128 voxels along y and x, from the middle.

    Where chunks are missing on disk between those that are there, it is the first chunk alone; None where all are missing.
    """
    present = np.argwhere(tomogram.chunk_present)
    if not len(present):
        return None
    first, last = present.min(axis=0), present.max(axis=0)
    if len(present) < np.prod(last - first + 1):
        first = last = present[0]
    chunk = np.asarray(tomogram.chunk_voxel)
    start = first * chunk
    stop = np.minimum((last + 1) * chunk, tomogram.volume.shape)
    too_long = np.maximum(stop - start - np.array([stop[0], _LARGEST_VOXEL, _LARGEST_VOXEL]), 0)
    start, stop = start + too_long // 2, stop - (too_long - too_long // 2)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    return (z.start, y.start, x.start), np.ascontiguousarray(tomogram.volume[z, y, x])


@dataclass(frozen=True)
class Comparison:
    """A simulated piece beside the real one.

    Parameters
    ----------
    fine_fall_dex : how far the simulated power in XY falls at the finer voxel (`fine_fall`).
    """

    run: str
    real: Appearance
    simulated: Appearance
    fine_fall_dex: float


class Calibration:
    """The pieces, prepared so that a change of the microscope costs one back-projection a piece.

    Parameters
    ----------
    pieces : of real tomograms.
    preset : where the fit starts, and what it leaves alone.
    seed : of orientations, background and noise.
    replicates : simulations of each piece, with other orientations and noise; their curves are averaged.
    """

    def __init__(
        self, pieces: Sequence[Piece], preset: SimulationPreset, *, seed: int = 0, replicates: int = 1
    ) -> None:
        if not pieces:
            raise SimulationError("calibration: no measured voxels with picks; give a project that has both")
        self.preset = preset
        self._pieces = [
            _PreparedPiece(piece, preset, seed, replicate) for piece in pieces for replicate in range(replicates)
        ]

    @staticmethod
    def start_of(preset: SimulationPreset) -> dict[str, float]:
        """Return the fitted numbers of a preset, inside their bounds."""
        return {
            fitted.key: float(np.clip(read_number(preset, fitted.key), fitted.lowest, fitted.highest))
            for fitted in FITTED
        }

    def compare(self, preset: SimulationPreset) -> list[Comparison]:
        """Simulate every piece with a preset, beside the real one."""
        return [prepared.compare(preset) for prepared in self._pieces]


class _PreparedPiece:
    """What does not depend on the fitted numbers: projections of particles and background, noise of the images."""

    def __init__(self, piece: Piece, preset: SimulationPreset, seed: int, replicate: int) -> None:
        self._piece = piece
        self._seed = (seed, "calibration", piece.run, replicate)
        self._real = appearance(piece.real)
        generator = numpy_generator(*self._seed, "specimen")
        settings = piece.preset(_with_background(preset, 0.0)).specimen
        specimen = build_specimen(settings, generator, like=piece.likeness())
        self._background = max(preset.specimen.surroundings.background_protein_mg_per_ml, 1.0)
        background = specimen.density.copy()
        add_background(
            background, specimen.instances > 0, self._background, piece.fine_angstrom, settings.slab,
            numpy_generator(*self._seed, "background"),
        )  # fmt: skip
        background -= specimen.density
        self._series = acquire(preset.microscope.tilts, numpy_generator(*self._seed, "tilts"))
        angles = self._series.true_angles_degrees.tolist()
        self._particles = project(torch.from_numpy(specimen.density), angles)
        self._globules = project(torch.from_numpy(background), angles)
        thickness = settings.ice_thickness_angstrom or piece.simulated_voxel[0] * piece.fine_angstrom
        self._noise = image_noise(
            piece.simulated_voxel, piece.fine_angstrom, thickness, self._series, preset.microscope.optics,
            numpy_generator(*self._seed, "noise"),
        )  # fmt: skip

    def compare(self, preset: SimulationPreset) -> Comparison:
        simulated = self._simulate(preset)
        fall = fine_fall(self._piece.cut_fine(simulated))
        return Comparison(self._piece.run, self._real, appearance(self._piece.cut(simulated)), fall)

    def _simulate(self, preset: SimulationPreset) -> Float[np.ndarray, "z y x"]:
        piece = self._piece
        defocus_um = draw_defocus_um(
            preset.microscope.optics, len(self._series.angles_degrees), numpy_generator(*self._seed, "defocus")
        )
        signal_filter, noise_filter = image_filters(
            piece.simulated_voxel, piece.fine_angstrom, self._series, defocus_um, preset.microscope
        )
        # Globules at random places: their power grows with their number, so their amplitude with its root.
        wanted = preset.specimen.surroundings.background_protein_mg_per_ml
        amplitude = math.sqrt(wanted / self._background)
        images = (self._particles + amplitude * self._globules) * signal_filter
        images += preset.denoiser.noise_left * self._noise * noise_filter
        tomogram = back_project(images, piece.simulated_voxel, self._series.angles_degrees.tolist()).numpy()
        return smooth_and_restrain(tomogram, piece.fine_angstrom, preset.denoiser)


def fine_fall(volume: Float[np.ndarray, "z y x"]) -> float:
    """Return by how much log10 power in XY falls from 0.1 to 0.44 cycles per voxel."""
    curve = radial_curve(slice_power(volume, "XY"))
    start, stop = np.interp((0.1, 0.44), curve.at, curve.log_power)
    return float(start - stop)


def misfit(comparisons: Sequence[Comparison], *, fine_fall_dex: float | None = None) -> float:
    """Return what the fit makes small: mean squares of differences, 1 where everything is off by its tolerance.

    Differences are averaged over the pieces first: the pieces of a data set differ among each other, and the simulator is to
    be like all of them.

    Parameters
    ----------
    fine_fall_dex : what `fine_fall` is known to be in the real data at the simulated voxel; None where it is not known.
    """
    curves = [np.mean([_difference(pair, name) for pair in comparisons], axis=0) for name in CURVES]
    squares = [float(np.nanmean(np.square(curve / 0.1))) for curve in curves]
    skew = np.mean([pair.simulated.skew - pair.real.skew for pair in comparisons])
    kurtosis = np.mean([pair.simulated.kurtosis - pair.real.kurtosis for pair in comparisons])
    squares += [float(skew / SKEW_SCALE) ** 2, float(kurtosis / KURTOSIS_SCALE) ** 2]
    if fine_fall_dex is not None:
        fall = np.mean([pair.fine_fall_dex for pair in comparisons])
        squares.append(float((fall - fine_fall_dex) / FALL_SCALE_DEX) ** 2)
    return sum(squares) / len(squares)


def search(
    start: Mapping[str, float], evaluate: Callable[[dict[str, float]], float], *, evaluations: int
) -> dict[str, float]:
    """Return the best numbers that a simplex search (Nelder & Mead) finds, on logarithmic scales, inside the bounds.

    Parameters
    ----------
    evaluate : misfit of numbers; called at most about `evaluations` times, always in the same order.
    """
    from scipy.optimize import minimize

    names = [fitted.key for fitted in FITTED]
    origin = np.log([start[name] for name in names])
    simplex = np.vstack([origin, origin + np.diag([np.log1p(fitted.step) for fitted in FITTED])])
    best: tuple[float, dict[str, float]] = (np.inf, dict(start))

    def at(point: np.ndarray) -> float:
        nonlocal best
        numbers = {name: float(value) for name, value in zip(names, np.exp(point), strict=True)}
        value = evaluate(numbers)
        best = min(best, (value, numbers), key=lambda pair: pair[0])
        return value

    minimize(
        at, origin, method="Nelder-Mead",
        bounds=[(np.log(fitted.lowest), np.log(fitted.highest)) for fitted in FITTED],
        options={"maxfev": evaluations, "initial_simplex": simplex, "adaptive": True, "fatol": 1e-4, "xatol": 1e-3},
    )  # fmt: skip
    return best[1]


def _with_background(preset: SimulationPreset, mg_per_ml: float) -> SimulationPreset:
    return with_numbers(preset, {"specimen.surroundings.background_protein_mg_per_ml": mg_per_ml})


def _difference(pair: Comparison, name: CurveName) -> Float[np.ndarray, "bins"]:
    return np.asarray(pair.simulated.curve(name).log_power - pair.real.curve(name).log_power)
