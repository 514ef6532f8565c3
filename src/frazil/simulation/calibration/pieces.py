"""Calibration on measured pieces of real tomograms: how they are simulated, and what is compared.

Where real voxels are coarser than 16 A the simulation is finer by a whole factor and averaged, so that the fitted numbers hold
at the finer voxel.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import scipy.fft
from jaxtyping import Float

from frazil.core.errors import MissingTomogramError, SourceError
from frazil.core.records import Picks, Tomogram, TomogramHeader
from frazil.dataset.tomograms.curate import robust_moments
from frazil.dataset.tomograms.description import voxels_digest
from frazil.io.like import Likeness
from frazil.io.sources import Source
from frazil.plots.appearances import Series, appearance_page
from frazil.simulation.calibration.goals import (
    Check,
    Outcome,
    Scene,
    calibration_stream,
    join_differences,
    mean_of,
    spread_of,
)
from frazil.simulation.preset import SimulationPreset
from frazil.simulation.specimen.settings import specimen_structures
from frazil.simulation.tomogram import simulate_tomogram
from frazil.volume.crop import box_start, crop
from frazil.volume.spectra import CURVES, Appearance, Curve, CurveName, appearance, distance_dex, mean_curve
from frazil.volume.spheres import sphere_profile

_FINE_ANGSTROM = 16.0  # a voxel at most this large is simulated as it is
_MARGIN_ANGSTROM = 640.0  # around a piece: what is there sends its streaks and halos in
_LARGEST_VOXEL = 128  # of a piece along y and x

_REACH = 1.3  # of the profile of a particle, in its radius
_EXPECTED = 0.2  # share by which a structure from elsewhere is too strong or too weak; assumed

# Differences that count as one in the search, and what the checks should stay within.
_DEX, _SKEW, _KURTOSIS = 0.05, 0.3, 1.5
_CHECKED_DEX = 0.1


@dataclass(frozen=True)
class Piece:
    """The measured gray values of a piece of a real tomogram, its whole depth, with all picks of the run.

    It begins at `start_voxel`, zyx, and the picks have the tomogram's coordinates. The digest is of the whole tomogram.
    """

    run: str
    real: Float[np.ndarray, "z y x"]
    voxel_size_angstrom: float
    start_voxel: tuple[int, int, int]
    picks: tuple[Picks, ...]
    tomogram_digest: str

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

    def profiles(
        self, volume: Float[np.ndarray, "z y x"], radii_angstrom: Mapping[str, float]
    ) -> Iterator[tuple[str, Float[np.ndarray, "shells"]]]:
        """Yield the class and the radial profile of each picked particle that lies whole in the piece; `volume` is as large as that."""
        for some in self.picks:
            edge = 2 * math.ceil(_REACH * radii_angstrom[some.label] / self.voxel_size_angstrom)
            starts = box_start(some.centers_angstrom / self.voxel_size_angstrom - np.asarray(self.start_voxel), edge)
            whole = ((starts >= 0) & (starts + edge <= volume.shape)).all(axis=1)
            for start in starts[whole]:
                yield some.label, sphere_profile(crop(volume, start, (edge,) * 3))

    def cut(self, simulated: Float[np.ndarray, "Z Y X"]) -> Float[np.ndarray, "z y x"]:
        """Return the part of a simulation that stands for the piece, averaged to its voxels."""
        z, y, x = self.real.shape
        slices = tuple(
            slice(margin, margin + self.factor * edge)
            for margin, edge in zip(self.margin_voxel, self.real.shape, strict=True)
        )
        blocks = simulated[slices].reshape(z, self.factor, y, self.factor, x, self.factor)
        return np.asarray(blocks.mean(axis=(1, 3, 5)))


class PieceGoal:
    """Pieces of real tomograms. They differ among each other, and the simulator should be like all: differences are averaged."""

    def __init__(self, pieces: Sequence[Piece], preset: SimulationPreset, seed: int) -> None:
        self.name = ", ".join(piece.run for piece in pieces)
        self._pieces, self._preset, self._seed = pieces, preset, seed
        self._real = [appearance(piece.real) for piece in pieces]
        self._scenes: list[Scene] = []

    def build(self) -> None:
        """Make a specimen for each piece; see `Goal`."""
        stream = partial(calibration_stream, self._seed)
        self._scenes = [
            Scene(
                self._preset.specimen.for_tomogram(piece.simulated_voxel, piece.fine_angstrom),
                self._preset,
                partial(stream, piece.run),
                piece.likeness(),
            )
            for piece in self._pieces
        ]

    def problem(self) -> dict[str, Any]:
        """Return what is fitted to; see `Goal`."""
        return {
            "kind": "pieces",
            "pieces": [
                {
                    "run": piece.run,
                    "shape_voxel": list(piece.real.shape),
                    "start_voxel": list(piece.start_voxel),
                    "voxel_size_angstrom": piece.voxel_size_angstrom,
                    "digest": hashlib.sha256(piece.real.tobytes()).hexdigest(),
                    "picks": {some.label: len(some) for some in piece.picks},
                }
                for piece in self._pieces
            ],
        }

    def differences(self, preset: SimulationPreset) -> Float[np.ndarray, "n"]:
        """Return the differences; see `Goal`."""
        simulated = [
            appearance(piece.cut(scene.tomogram(preset)))
            for piece, scene in zip(self._pieces, self._scenes, strict=True)
        ]
        return piece_differences(self._real, simulated)

    def masses_kda(self, preset: SimulationPreset) -> dict[str, tuple[float, float]]:
        """Return the mass of each class in the preset, and that with which particles are as strong as real ones; of others nothing.

        By least squares, between each real particle and the mean simulated one, turned in all directions; see `expected_shares`.
        """
        picked = {some.label for piece in self._pieces for some in piece.picks}
        structures = specimen_structures(preset.specimen, picked=picked)
        radii = {label: one.radius_angstrom for label, one in structures.items()}
        real: dict[str, list[Float[np.ndarray, "shells"]]] = {}
        simulated: dict[str, list[Float[np.ndarray, "shells"]]] = {}
        for index, piece in enumerate(self._pieces):
            stand_in = simulate_tomogram(preset, self._seed, f"contrast {index}", like=piece.likeness()).denoised
            for profiles, volume in ((real, piece.real), (simulated, piece.cut(stand_in))):
                median, spread = robust_moments(volume, piece.run)
                for label, profile in piece.profiles((volume - median) / spread, radii):
                    profiles.setdefault(label, []).append(profile)
        shares = {}
        for label, own in real.items():
            model = np.mean(simulated[label], axis=0)
            weights = np.arange(len(model)) ** 2
            shares[label] = np.array(own) @ (weights * model) / (weights * model**2).sum()
        masses = {label: structures[label].mass_kda for label in shares}
        return {
            label: (masses[label], float(f"{share * masses[label]:.3g}"))
            for label, share in expected_shares(shares).items()
        }

    def check(self, preset: SimulationPreset, seeds: Iterator[int]) -> Outcome:
        """Compare with fresh simulations of every piece; see `Goal`."""
        groups, scales, values = [], [], []
        for seed in seeds:
            cuts = [
                piece.cut(simulate_tomogram(preset, seed, index, like=piece.likeness()).denoised)
                for index, piece in enumerate(self._pieces)
            ]
            groups.append([appearance(cut) for cut in cuts])
            scales += [float(piece.real.std() / cut.std()) for piece, cut in zip(self._pieces, cuts, strict=True)]
            values += [_scored(cut) for cut in cuts]
        checks = piece_checks(self.name, self._real, groups)
        series = [
            Series("real", self._real, np.concatenate([_scored(piece.real) for piece in self._pieces])),
            Series("simulated", [one for group in groups for one in group], np.concatenate(values)),
        ]
        page = appearance_page(
            series,
            voxel_size_angstrom=self._pieces[0].voxel_size_angstrom,
            caption=f"Lines: means. Shaded: range of the real pieces ({self.name}) and of {len(groups)} "
            "simulations of each with seeds that the fit has not seen. Pieces are faded out at their edges.",
        )
        return Outcome(checks, page, float(np.mean(scales)))


def expected_shares(measured: Mapping[str, Float[np.ndarray, "n"]]) -> dict[str, float]:
    """Return how strong each class is to be expected, as a share of its strength in the preset, given that of some of its particles.

    It is the posterior mean of a normal prior around 1 and of particles that scatter by as much in every class, so few particles say
    a little. Nothing is known where there is one particle of each class, or where a share is not positive.
    """
    freedom = sum(len(some) - 1 for some in measured.values())
    if freedom == 0:
        return {}
    scatter = sum(float(np.square(some - some.mean()).sum()) for some in measured.values()) / freedom
    shares = {
        label: 1 + (some.mean() - 1) * _EXPECTED**2 / (_EXPECTED**2 + scatter / len(some))
        for label, some in measured.items()
    }
    return {label: float(share) for label, share in shares.items() if share > 0}


def piece_differences(real: Sequence[Appearance], simulated: Sequence[Appearance]) -> Float[np.ndarray, "n"]:
    """Return the mean differences of simulated pieces from real ones, in tolerances; see `Goal`."""
    pairs = list(zip(real, simulated, strict=True))
    kinds = [
        np.mean([other.curve(name).log_power - one.curve(name).log_power for one, other in pairs], axis=0) / _DEX
        for name in CURVES
    ]
    kinds.append(np.array([np.mean([other.skew - one.skew for one, other in pairs]) / _SKEW]))
    kinds.append(np.array([np.mean([other.kurtosis - one.kurtosis for one, other in pairs]) / _KURTOSIS]))
    return join_differences(kinds)


def piece_checks(goal: str, real: Sequence[Appearance], simulated: Sequence[Sequence[Appearance]]) -> list[Check]:
    """Compare real pieces with simulations of them, those of each fresh seed in one group."""
    everything = [one for group in simulated for one in group]
    results = []
    for what in CURVES:
        wanted = _curve(real, what)
        each = [distance_dex(_curve(group, what), wanted) for group in simulated]
        floor = [distance_dex(one.curve(what), other.curve(what)) for one, other in combinations(real, 2)]
        name = "missing wedge, dex" if what == "wedge" else f"power in {what}, dex"
        difference = distance_dex(_curve(everything, what), wanted)
        results.append(Check(goal, name, difference, spread_of(each), mean_of(floor), _CHECKED_DEX))
    for name, field, tolerance in (("skew", "skew", _SKEW), ("excess kurtosis", "kurtosis", _KURTOSIS)):
        own, *others = ([float(getattr(one, field)) for one in group] for group in (real, *simulated))
        off = [float(np.mean(other) - np.mean(own)) for other in others]
        floor = [abs(one - other) for one, other in combinations(own, 2)]
        results.append(Check(goal, name, float(np.mean(off)), spread_of(off), mean_of(floor), tolerance))
    return results


def _curve(group: Sequence[Appearance], name: CurveName) -> Curve:
    return mean_curve([one.curve(name) for one in group])


def _scored(volume: Float[np.ndarray, "z y x"]) -> Float[np.ndarray, "voxels"]:
    return np.asarray((volume - volume.mean()) / volume.std()).ravel()


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
            voxel_size_angstrom, digest = tomogram.header.voxel_size_angstrom, voxels_digest(tomogram)
            pieces.append(Piece(run, volume, voxel_size_angstrom, start_voxel, own, digest))
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
