"""Density maps as structures: cleaned once, resampled once a voxel size, then only turned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.ndimage import affine_transform, binary_propagation, label, spline_filter

from frazil.core.errors import SimulationError, SourceError
from frazil.io.mrc import read_header, read_volume
from frazil.simulation.structures.solid import PROTEIN_DALTON_PER_CUBIC_ANGSTROM, solid_body
from frazil.volume.crop import crop
from frazil.volume.resample import AxisWeights, axis_weights, resample

Contrast = Literal["auto", "white", "black"]

_NOISE_SIGMAS = 2.5  # below so many of the background's, a voxel holds nothing
_DUST = 0.02  # pieces smaller than this share of the largest one are no part of the particle
# A body as dense on the border of its box as inside is noise; a layer through the box has two thirds, a particle little.
_EVERYWHERE = 0.75
_EDGE_ANGSTROM = 15.0  # by which resampling can spread a map
_SOLID_VOXEL_ANGSTROM = 6.0  # coarse enough to be quick, fine enough for the pores of a capsid


@dataclass(frozen=True, eq=False)
class MapModel:
    """A particle given by voxels; a `Structure`. It is placed by its centre of mass, not by the middle of its box.

    Parameters
    ----------
    label : class name.
    volume : `(z, y, x)` mass density over ice in any unit; zero outside the particle.
    voxel_size_angstrom : edge of its voxels.
    mass_kda : integral that the density is scaled to.
    scoring_radius_angstrom : None takes the solid radius.
    origin_voxel : what `center_offset_angstrom` counts from, zyx, fractions allowed; None is the box centre N // 2.
    """

    label: str
    volume: Float[np.ndarray, "z y x"]
    voxel_size_angstrom: float
    mass_kda: float
    scoring_radius_angstrom: float | None = None
    origin_voxel: Float[np.ndarray, "3"] | None = None
    _prepared: dict[float, Coefficients] = field(default_factory=dict, repr=False)

    @property
    def radius_angstrom(self) -> float:
        """Radius for scoring; the enclosing one where none was given."""
        return self.scoring_radius_angstrom or self.solid_radius_angstrom

    @cached_property
    def center_voxel(self) -> Float[np.ndarray, "3"]:
        """Centre of mass, zyx, in voxels of the map."""
        along = [self.volume.sum(axis=axes, dtype=np.float64) for axes in ((1, 2), (0, 2), (0, 1))]
        return np.array([line @ np.arange(len(line)) / line.sum() for line in along])

    @property
    def center_offset_angstrom(self) -> Float[np.ndarray, "3"]:
        """From the map's box centre N // 2, or the origin of an atomic model, to the centre of mass, zyx.

        In the particle's own orientation and at its scale.
        """
        origin = [edge // 2 for edge in self.volume.shape] if self.origin_voxel is None else self.origin_voxel
        return np.asarray((self.center_voxel - np.asarray(origin)) * self.voxel_size_angstrom)

    @cached_property
    def solid_radius_angstrom(self) -> float:
        """Radius of the sphere about the centre that holds the solid body."""
        edge = 2 * int(np.ceil(self.support_radius_angstrom / _SOLID_VOXEL_ANGSTROM)) + 1
        density = self.density((edge, edge, edge), _SOLID_VOXEL_ANGSTROM)
        body = np.argwhere(solid_body(density, _SOLID_VOXEL_ANGSTROM)) - edge // 2
        return float(np.linalg.norm(body, axis=1).max()) * _SOLID_VOXEL_ANGSTROM

    @cached_property
    def support_radius_angstrom(self) -> float:
        """Radius beyond which the density is nothing."""
        filled = np.argwhere(self.volume) - self.center_voxel
        return float(np.linalg.norm(filled, axis=1).max() + 1) * self.voxel_size_angstrom + _EDGE_ANGSTROM

    def density(
        self,
        shape_voxel: tuple[int, int, int],
        voxel_size_angstrom: float,
        *,
        rotation: Float[np.ndarray, "3 3"] | None = None,
        center_voxel: Sequence[float] | None = None,
    ) -> Float[np.ndarray, "z y x"]:
        """Return the mass density, dalton per cubic angstrom, float32.

        Parameters
        ----------
        shape_voxel : zyx.
        rotation : object -> grid, acting on zyx vectors; None leaves the particle as it is.
        center_voxel : zyx place of the centre of mass, fractions allowed; None is the box centre N // 2.
        """
        prepared = self._prepared.get(voxel_size_angstrom)
        if prepared is None:
            prepared = self._prepared[voxel_size_angstrom] = self._prepare(voxel_size_angstrom)
        middle = np.array([edge // 2 for edge in shape_voxel] if center_voxel is None else center_voxel)
        back = np.eye(3) if rotation is None else np.asarray(rotation).T
        back = back * (voxel_size_angstrom / prepared.voxel_size_angstrom)
        offset = prepared.center_voxel - back @ middle
        turned = affine_transform(
            prepared.values, back, offset=offset, output_shape=shape_voxel, order=3, prefilter=False
        )
        return np.asarray(turned, dtype=np.float32)

    def _prepare(self, voxel_size_angstrom: float) -> Coefficients:
        """Return what a grid of this voxel size can hold of the map, on a grid half as coarse: a spline follows it well."""
        coarse = max(voxel_size_angstrom, self.voxel_size_angstrom)
        reach = self.support_radius_angstrom + 4 * coarse
        first = self._axes(2 * int(np.ceil(reach / coarse)), coarse / self.voxel_size_angstrom)
        start = [axis.start_voxel for axis in first]
        block = crop(self.volume, start, [axis.weights.shape[1] for axis in first])
        limited = resample(block, [axis.weights for axis in first])
        edge = limited.shape[0]
        # Twice as fine about the same centre; the halo of the kernel is empty.
        finer = axis_weights(edge // 2, 2 * edge, 0.5)
        padded = crop(limited, [finer.start_voxel] * 3, [finer.weights.shape[1]] * 3)
        fine = resample(padded, [finer.weights] * 3)
        fine *= 1000 * self.mass_kda / (float(fine.sum(dtype=np.float64)) * (coarse / 2) ** 3)
        return Coefficients(np.asarray(spline_filter(fine, order=3, output=np.float32)), coarse / 2, edge)

    def _axes(self, edge: int, ratio: float) -> list[AxisWeights]:
        return [axis_weights(center, edge, ratio) for center in self.center_voxel]


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Cubic B-spline coefficients of a map, band-limited for one voxel size.

    Parameters
    ----------
    values : `(z, y, x)`.
    voxel_size_angstrom : of this grid.
    center_voxel : index of the particle's centre, the same along all axes.
    """

    values: Float[np.ndarray, "z y x"]
    voxel_size_angstrom: float
    center_voxel: int


def read_map(
    path: Path,
    *,
    label: str,
    mass_kda: float | None = None,
    radius_angstrom: float | None = None,
    contrast: Contrast = "auto",
    voxel_size_angstrom: float | None = None,
    scale: float = 1.0,
) -> MapModel:
    """Read an MRC map as a structure, which is then placed by its centre of mass (`MapModel.center_offset_angstrom`).

    Parameters
    ----------
    label : class name.
    mass_kda : None takes the volume above the map's contour times protein's 0.81 dalton per cubic angstrom.
    radius_angstrom : for scoring; None takes the enclosing radius.
    contrast : whether the particle is brighter (``white``) or darker than its background; ``auto`` looks.
    voxel_size_angstrom : None trusts the header.
    scale : enlarges the particle.

    Raises
    ------
    SourceError : the file cannot be read.
    SimulationError : no voxel size, no cubic voxels, no volume, or no particle in the map.
    """
    # Refuses a damaged file before its voxel size is asked for.
    shape = read_header(path, voxel_size_angstrom=1.0).shape_voxel
    if min(shape) == 1:
        size = " x ".join(map(str, shape))
        raise SimulationError(f"{path}: a flat image of {size} voxels (z, y, x); give {label} a three-dimensional map")
    try:
        voxel_size = read_header(path, voxel_size_angstrom).voxel_size_angstrom
    except SourceError as fault:
        what, _, _ = str(fault).partition(";")  # its remedy is for tomograms
        raise SimulationError(
            f"{what}; resample the map to cubes, or give its true voxel size: "
            f'--set \'specimen.structures=[{{label="{label}", source="{path}", '
            "voxel_size_angstrom=10.0}]'"
        ) from None
    values = read_volume(path)
    if not np.isfinite(values).all():
        raise SimulationError(f"{path}: voxels that are not finite; write the map of {label} without NaN and infinity")
    if np.ptp(values) == 0:
        raise SimulationError(f"{path}: all voxels are {values.flat[0]:g}; give a map of {label} that shows a particle")
    voxel_size *= scale
    cleaned, body = clean_map(values, contrast)
    if _border(body).mean() > _EVERYWHERE * body.mean():
        raise SimulationError(
            f"{path}: as much matter on its border as inside, so noise and no particle; give a map that shows one "
            f"{label} with nothing around it"
        )
    return MapModel(label, cleaned, voxel_size, mass_kda or _mass_kda(cleaned, body, voxel_size), radius_angstrom)


def clean_map(
    values: Float[np.ndarray, "z y x"], contrast: Contrast
) -> tuple[Float[np.ndarray, "z y x"], Bool[np.ndarray, "z y x"]]:
    """Return the particle of a map, bright on zero, and the voxels of its body.

    The background's level and noise are those of the border. The body is what lies above the contour that best tells two
    kinds of voxels apart (Otsu 1979); what hangs together with it and stands out of the noise belongs to the particle.
    """
    border = _border(values)
    level = float(np.median(border))
    noise = 1.4826 * float(np.median(np.abs(border - level)))
    excess = values - np.float32(level)
    if contrast == "black" or (contrast == "auto" and float((excess.astype(np.float64) ** 3).sum()) < 0):
        excess = -excess
    np.maximum(excess, 0, out=excess)
    body = _without_dust(excess > _contour(excess))
    particle = binary_propagation(body, mask=excess > max(_NOISE_SIGMAS * noise, 1e-4 * float(excess.max())))
    return np.where(particle | body, excess, np.float32(0)), body


def _mass_kda(
    cleaned: Float[np.ndarray, "z y x"], body: Bool[np.ndarray, "z y x"], voxel_size_angstrom: float
) -> float:
    """Return the volume above a contour as protein.

    The contour is half of what a tenth of the body surpasses: there a blurred surface stands where the sharp one was. It
    gives the mass of single proteins of known size in maps at 10 A within about 15 percent, and up to 30 of thin shells.
    """
    contour = np.percentile(cleaned[body], 90) / 2
    volume = np.count_nonzero(cleaned > contour) * voxel_size_angstrom**3
    return float(volume * PROTEIN_DALTON_PER_CUBIC_ANGSTROM / 1000)


def _border(values: Shaped[np.ndarray, "z y x"]) -> Shaped[np.ndarray, "n"]:
    """Return the voxels of the six faces."""
    inside = np.zeros(values.shape, dtype=bool)
    inside[tuple(slice(1, -1) for _ in range(3))] = True
    return values[~inside]


def _contour(excess: Float[np.ndarray, "z y x"]) -> float:
    """Return the level that leaves the most variance between the voxels below and above it."""
    counts, edges = np.histogram(excess, bins=512)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1]
    above = below[-1] + counts[-1] - below
    sum_below = np.cumsum(counts * middles)[:-1]
    sum_above = sum_below[-1] + counts[-1] * middles[-1] - sum_below
    difference = sum_above / np.maximum(above, 1) - sum_below / np.maximum(below, 1)
    return float(edges[1:-1][np.argmax(below * above * difference**2)])


def _without_dust(body: Bool[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z y x"]:
    pieces, count = label(body)
    if count < 2:
        return body
    sizes = np.bincount(pieces.ravel())[1:]
    kept = np.flatnonzero(sizes >= _DUST * sizes.max()) + 1
    return np.isin(pieces, kept)
