"""Measured pieces of real tomograms, how they are simulated, and what is compared.

Where real voxels are coarser than 10 A the simulation is finer by a whole factor and averaged, so that the fitted numbers hold
at the finer voxel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Float

from frazil.core.errors import MissingTomogramError, SourceError
from frazil.core.records import Picks, Tomogram, TomogramHeader
from frazil.io.sources import Source
from frazil.simulation.specimen.specimen import Likeness
from frazil.volume.spectra import Appearance, appearance, radial_curve, slice_power

_FINE_ANGSTROM = 10.5  # a voxel at most this large is simulated as it is
_MARGIN_ANGSTROM = 640.0  # around a piece: what is there sends its streaks and halos in
_LARGEST_VOXEL = 128  # of a piece along y and x
_FALL_CYCLES_PER_VOXEL = (0.1, 0.44)


@dataclass(frozen=True)
class Piece:
    """The measured gray values of a piece of a real tomogram, its whole depth, with all picks of the run.

    It begins at `start_voxel`, zyx, and the picks have the tomogram's coordinates.
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

    def measure_simulated(self, simulated: Float[np.ndarray, "Z Y X"]) -> Measured:
        """Cut out the part of a simulation that stands for the piece, and measure it."""
        curve = radial_curve(slice_power(self._cut_fine(simulated), "XY"))
        start, stop = np.interp(_FALL_CYCLES_PER_VOXEL, curve.at, curve.log_power)
        return Measured.of(self.cut(simulated), float(start - stop))

    def cut(self, simulated: Float[np.ndarray, "Z Y X"]) -> Float[np.ndarray, "z y x"]:
        """Return the part of a simulation that stands for the piece, averaged to its voxels."""
        z, y, x = self.real.shape
        blocks = self._cut_fine(simulated).reshape(z, self.factor, y, self.factor, x, self.factor)
        return np.asarray(blocks.mean(axis=(1, 3, 5)))

    def _cut_fine(self, simulated: Float[np.ndarray, "Z Y X"]) -> Float[np.ndarray, "z y x"]:
        slices = tuple(
            slice(margin, margin + self.factor * edge)
            for margin, edge in zip(self.margin_voxel, self.real.shape, strict=True)
        )
        return simulated[slices]


@dataclass(frozen=True)
class Measured:
    """What is kept of a piece, real or simulated: its appearance, and its z-scored gray values.

    Log10 power in XY falls by `fine_fall_dex` from 0.1 to 0.44 cycles per simulated voxel; NaN for real pieces.
    """

    appearance: Appearance
    grey_values: Float[np.ndarray, "z y x"]
    fine_fall_dex: float

    @classmethod
    def of(cls, volume: Float[np.ndarray, "z y x"], fine_fall_dex: float = math.nan) -> Measured:
        """Measure a piece."""
        return cls(appearance(volume), np.asarray((volume - volume.mean()) / volume.std()), fine_fall_dex)


def read_pieces(source: Source, runs: Sequence[str]) -> list[Piece]:
    """Return the measured pieces of these runs with their picks; of all runs that have both if none is named."""
    picks = source.picks()
    known = sorted({some.run for some in picks})
    for run in runs:
        if run not in known:
            raise SourceError(f"{source.path}: no run {run} with picks; it has {', '.join(known) or 'none'}")
    pieces = []
    for run in runs or known:
        try:
            tomogram = source.read(run)
        except MissingTomogramError:
            if run in runs:
                raise
            continue
        if (found := measured_piece(tomogram)) is not None:
            start_voxel, volume = found
            own = tuple(some for some in picks if some.run == run)
            pieces.append(Piece(run, volume, tomogram.header.voxel_size_angstrom, start_voxel, own))
    if not pieces:
        raise SourceError(
            f"{source.path}: no run with measured voxels and picks; choose another level or tomogram type"
        )
    return pieces


def measured_piece(tomogram: Tomogram) -> tuple[tuple[int, int, int], Float[np.ndarray, "z y x"]] | None:
    """Return where a tomogram was measured and what it holds there; at most 128 voxels along y and x, from the middle.

    If chunks are missing on disk between those that exist, it is the first chunk alone; None if all are missing.
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
