"""Density maps as structures: cleaned once, resampled once per voxel size, then only rotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.ndimage import affine_transform, binary_propagation, label, spline_filter

from frazil.core.errors import SimulationError, SourceError
from frazil.io.mrc import read_header, read_volume
from frazil.simulation.structures.structure import PROTEIN_DALTON_PER_CUBIC_ANGSTROM, StructureSettings, solid_body
from frazil.volume.crop import crop
from frazil.volume.resample import axis_weights, resample

_NOISE_SIGMAS = 2.5  # a voxel below this many of the background's holds nothing
_DUST = 0.02  # pieces smaller than this share of the largest one do not belong to the particle
# A body as dense on the border of its box as inside is noise; a layer through the box has two thirds, a particle little.
_EVERYWHERE = 0.75
_EDGE_ANGSTROM = 15.0  # by which resampling can spread a map
_SOLID_VOXEL_ANGSTROM = 6.0  # coarse enough to be quick, fine enough for the pores of a capsid


@dataclass(frozen=True, eq=False)
class MapModel:
    """A particle given by voxels. It is placed by its center of mass, not by the middle of its box.

    Parameters
    ----------
    volume : mass density over ice in any unit; zero outside the particle.
    mass_kda : integral that the density is scaled to.
    scoring_radius_angstrom : None takes the solid radius.
    origin_voxel : what `center_offset_angstrom` counts from, zyx, fractions allowed; None is the box center N // 2.
    size_spread, patchiness, contents_kda : as in `StructureSettings`.
    """

    label: str
    volume: Float[np.ndarray, "z y x"]
    voxel_size_angstrom: float
    mass_kda: float
    scoring_radius_angstrom: float | None = None
    origin_voxel: Float[np.ndarray, "3"] | None = None
    size_spread: float = 0.0
    patchiness: float = 0.0
    contents_kda: float = 0.0
    _prepared: dict[float, Float[np.ndarray, "z y x"]] = field(default_factory=dict, repr=False)

    @property
    def radius_angstrom(self) -> float:
        """Radius for scoring; the enclosing one if none was given."""
        return self.scoring_radius_angstrom or self.solid_radius_angstrom

    @cached_property
    def center_voxel(self) -> Float[np.ndarray, "3"]:
        """Center of mass, zyx, in voxels of the map."""
        along = [self.volume.sum(axis=axes, dtype=np.float64) for axes in ((1, 2), (0, 2), (0, 1))]
        return np.array([line @ np.arange(len(line)) / line.sum() for line in along])

    @property
    def center_offset_angstrom(self) -> Float[np.ndarray, "3"]:
        """From the origin to the center of mass, where picks are, zyx, in the particle's own orientation."""
        origin = [edge // 2 for edge in self.volume.shape] if self.origin_voxel is None else self.origin_voxel
        return np.asarray((self.center_voxel - np.asarray(origin)) * self.voxel_size_angstrom)

    @cached_property
    def solid_radius_angstrom(self) -> float:
        """Radius of the sphere about the center that holds the solid body."""
        edge = 2 * int(np.ceil(self.support_radius_angstrom / _SOLID_VOXEL_ANGSTROM)) + 1
        density = self.density((edge, edge, edge), _SOLID_VOXEL_ANGSTROM)
        body = np.argwhere(solid_body(density, _SOLID_VOXEL_ANGSTROM)) - edge // 2
        return float(np.linalg.norm(body, axis=1).max()) * _SOLID_VOXEL_ANGSTROM

    @cached_property
    def support_radius_angstrom(self) -> float:
        """Radius beyond which the density is zero."""
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
        """Return the mass density; see `GrainModel.density`."""
        if voxel_size_angstrom not in self._prepared:
            self._prepared[voxel_size_angstrom] = self._spline(voxel_size_angstrom)
        coefficients = self._prepared[voxel_size_angstrom]
        middle = np.array([edge // 2 for edge in shape_voxel] if center_voxel is None else center_voxel)
        back = np.eye(3) if rotation is None else np.linalg.inv(rotation)
        back = back * (voxel_size_angstrom / (max(voxel_size_angstrom, self.voxel_size_angstrom) / 2))
        offset = len(coefficients) // 2 - back @ middle
        turned = affine_transform(coefficients, back, offset=offset, output_shape=shape_voxel, order=3, prefilter=False)
        return np.asarray(turned, dtype=np.float32)

    def _spline(self, voxel_size_angstrom: float) -> Float[np.ndarray, "n n n"]:
        """Return cubic B-spline coefficients of what a grid of this voxel size can hold of the map, about its center.

        Their grid is half as coarse: a spline follows the map well there.
        """
        coarse = max(voxel_size_angstrom, self.voxel_size_angstrom)
        edge = 2 * int(np.ceil((self.support_radius_angstrom + 4 * coarse) / coarse))
        axes = [axis_weights(center, edge, coarse / self.voxel_size_angstrom) for center in self.center_voxel]
        block = crop(self.volume, [axis.start_voxel for axis in axes], [axis.weights.shape[1] for axis in axes])
        limited = resample(block, [axis.weights for axis in axes])
        # Twice as fine about the same center; the halo of the kernel is empty.
        finer = axis_weights(edge // 2, 2 * edge, 0.5)
        padded = crop(limited, [finer.start_voxel] * 3, [finer.weights.shape[1]] * 3)
        fine = resample(padded, [finer.weights] * 3)
        fine *= 1000 * self.mass_kda / (float(fine.sum(dtype=np.float64)) * (coarse / 2) ** 3)
        return np.asarray(spline_filter(fine, order=3, output=np.float32))


def read_map(path: Path, settings: StructureSettings) -> MapModel:
    """Read an MRC map as a structure."""
    name = settings.label
    shape = read_header(path, voxel_size_angstrom=1.0).shape_voxel  # a damaged file is refused before its voxel size
    if min(shape) == 1:
        size = " x ".join(map(str, shape))
        raise SimulationError(f"{path}: a flat image of {size} voxels (z, y, x); give {name} a three-dimensional map")
    try:
        voxel_size = read_header(path, settings.voxel_size_angstrom).voxel_size_angstrom
    except SourceError as fault:
        what, _, _ = str(fault).partition(";")  # its remedy is for tomograms
        raise SimulationError(
            f'{what}; resample the map, or set its voxel size: specimen.structures=[{{label="{name}", '
            f'source="{path}", voxel_size_angstrom=10.0}}]'
        ) from None
    values = read_volume(path)
    if not np.isfinite(values).all():
        raise SimulationError(f"{path}: voxels that are not finite; write the map of {name} without NaN and infinity")
    if np.ptp(values) == 0:
        raise SimulationError(f"{path}: all voxels are {values.flat[0]:g}; give a map of {name} that shows a particle")
    cleaned, body = clean_map(values, settings.contrast)
    if _border(body).mean() > _EVERYWHERE * body.mean():
        raise SimulationError(
            f"{path}: as much matter on its border as inside, so noise and no particle; give a map that shows one "
            f"{name} with nothing around it"
        )
    mass_kda = settings.mass_kda
    if mass_kda is None:
        # Volume as protein. Half of what a tenth of the body exceeds is where a blurred surface stands where the sharp one
        # was: single proteins of known size in maps at 10 A get their mass within about 15 percent, thin shells within 30.
        contour = np.percentile(cleaned[body], 90) / 2
        volume = np.count_nonzero(cleaned > contour) * voxel_size**3
        mass_kda = float(volume * PROTEIN_DALTON_PER_CUBIC_ANGSTROM / 1000)
    return MapModel(
        name, cleaned, voxel_size, mass_kda, settings.radius_angstrom, size_spread=settings.size_spread or 0.0
    )


def clean_map(
    values: Float[np.ndarray, "z y x"], contrast: str
) -> tuple[Float[np.ndarray, "z y x"], Bool[np.ndarray, "z y x"]]:
    """Return the particle of a map, bright on zero, and the voxels of its body.

    The background's level and noise are those of the border. The body is what lies above the contour that best tells two
    kinds of voxels apart (Otsu 1979); what is connected to it and above the noise belongs to the particle.
    """
    border = _border(values)
    level = float(np.median(border))
    noise = 1.4826 * float(np.median(np.abs(border - level)))
    excess = values - np.float32(level)
    if contrast == "black" or (contrast == "auto" and float((excess.astype(np.float64) ** 3).sum()) < 0):
        excess = -excess
    np.maximum(excess, 0, out=excess)
    pieces, _ = label(excess > _contour(excess))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0  # what is in no piece
    body = np.isin(pieces, np.flatnonzero(sizes >= max(_DUST * sizes.max(), 1)))
    particle = binary_propagation(body, mask=excess > max(_NOISE_SIGMAS * noise, 1e-4 * float(excess.max())))
    return np.where(particle | body, excess, np.float32(0)), body


def _border(values: Shaped[np.ndarray, "z y x"]) -> Shaped[np.ndarray, "n"]:
    """Return the voxels of the six faces."""
    inside = np.zeros(values.shape, dtype=bool)
    inside[1:-1, 1:-1, 1:-1] = True
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
