"""The real box nearest to a volume, over the turns that keep the missing wedge and over small shifts.

The distance is 1 - normalized cross-correlation (Pearson's) of the central cube of the volume, the part that stays inside
the box at every shift, and where the box lies under it: all turns and shifts of all boxes compare the same voxels of the
volume. 0 is a copy, whatever its mean and contrast; 1 is no resemblance.

A search in two steps. *Screening*: volumes, smoothed and sampled on a grid of some 13^3 points, against every box in
every turn and at every second shift, as one matrix product: time grows linearly with the boxes, memory does not.
*Refinement*: the best few boxes in full resolution, all turns and all shifts, exactly, by Fourier transform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from frazil.core.errors import ShapeError
from frazil.volume.turns import SIGNS, TURNS, Turn, turn_half

MAX_SHIFT_VOXEL = 4

_VOLUMES_AT_ONCE = 512
_PRODUCT_NUMBERS = 24_000_000  # of one matrix product: 100 MB
_REFINED_AT_ONCE = 16
_FLIPS = tuple([axis - 3 for axis, sign in enumerate(SIGNS[turn]) if sign < 0] for turn in TURNS)


class Search:
    """Which voxels of boxes of one edge are compared, and how coarsely boxes are screened.

    Raises
    ------
    ShapeError : the edge is below 8.
    """

    def __init__(self, edge_voxel: int) -> None:
        if edge_voxel < 8:
            raise ShapeError(f"boxes of {edge_voxel}^3 voxels are too small to be matched; give them 8 or more")
        self.edge_voxel = edge_voxel
        self.shift_voxel = min(MAX_SHIFT_VOXEL, edge_voxel // 8)
        # the compared cube reaches so far from voxel D/2 on both sides, so that turns keep it;
        # voxel 0 has no partner in a turned box of even edge: no shift reaches it
        middle = edge_voxel // 2
        self.half_voxel = middle - 1 - self.shift_voxel
        self.cube = slice(middle - self.half_voxel, middle + self.half_voxel + 1)
        self.lags = np.arange(-self.shift_voxel, self.shift_voxel + 1)
        self.spacing_voxel = max(1, edge_voxel // 16)  # of the screening grid
        self.step_voxel = 1 if self.spacing_voxel == 1 else 2  # between the shifts that are screened
        # Boxes to refine. Measured on simulated tomograms, 600 boxes: at 64^3 the nearest of 40 held-out boxes was exact for
        # 33, its distance 0.04 % too long in the mean and 0.7 % at most (the second lies 0.4 % behind); at 32^3 for 49 of 50,
        # 0.1 % at most. Every second shift is coarse against a spacing of 2 or 3, and boxes that small are refined at an
        # eighth of the cost.
        self.candidates = 32 if self.step_voxel > 1 and self.spacing_voxel < 4 else 8

    @cached_property
    def waves(self) -> tuple[Tensor, Tensor]:
        """Inverse Fourier transform along a whole and a half axis, at these few shifts alone: a tenth of the cost of all."""
        edge = self.edge_voxel
        phase = torch.outer(torch.from_numpy(self.lags).double(), torch.arange(edge, dtype=torch.float64))
        wave = torch.polar(torch.ones_like(phase), phase * (2 * torch.pi / edge))
        # the half spectrum: all but kx = 0 and Nyquist stand for their conjugates too
        weight = torch.full((edge // 2 + 1,), 2.0, dtype=torch.float64)
        weight[[0, -1] if edge % 2 == 0 else 0] = 1
        half = wave[:, : edge // 2 + 1] * weight / edge**3
        return wave.to(torch.complex64), half.to(torch.complex64)

    def sampling(self, lags: Sequence[int] | np.ndarray) -> Float32[Tensor, "lag point voxel"]:
        """Return the weights that smooth a line with a triangle and sample it about D/2 + lag, inside the compared cube."""
        reach = (self.half_voxel - (self.spacing_voxel - 1)) // self.spacing_voxel
        points = self.edge_voxel // 2 + self.spacing_voxel * np.arange(-reach, reach + 1)
        centers = np.asarray(lags)[:, None] + points
        distance = np.abs(np.arange(self.edge_voxel) - centers[..., None])
        return torch.from_numpy(np.maximum(0, 1 - distance / self.spacing_voxel).astype(np.float32))


@dataclass(frozen=True)
class Matches:
    """The nearest boxes of each volume, nearest first; a place that no box could fill has box -1 and distance NaN.

    Parameters
    ----------
    distance : 1 - correlation after the best turn (a place in `TURNS`) and shift.
    shift_voxel : zyx, of the box after its turn, to lie on the volume.
    """

    box: Int64[np.ndarray, "n k"]
    distance: Float[np.ndarray, "n k"]
    turn: Int64[np.ndarray, "n k"]
    shift_voxel: Int64[np.ndarray, "n k 3"]


def nearest_boxes(
    volumes: Float32[np.ndarray, "n z y x"],
    boxes: Float32[np.ndarray, "m z y x"],
    *,
    rows: Sequence[int] | np.ndarray | None = None,
    own: Sequence[int] | np.ndarray | None = None,
    candidates: int | None = None,
    on_volumes: Callable[[float], None] = lambda count: None,
) -> Matches:
    """Find the boxes nearest to each volume.

    Parameters
    ----------
    volumes, boxes : cubes of one edge, z-scored or not.
    rows : the volumes to search for; None takes all.
    own : for each of these the box that does not count because it is the volume itself.
    candidates : boxes to refine for each volume; None takes `Search.candidates`, as many as there are boxes is exact.
    on_volumes : called with the number of volumes just done, in fractions.
    """
    search = Search(boxes.shape[-1])
    candidates = min(search.candidates if candidates is None else candidates, len(boxes))
    rows = np.arange(len(volumes)) if rows is None else np.asarray(rows, dtype=np.int64)
    own = np.full(len(rows), -1) if own is None else np.asarray(own, dtype=np.int64)
    nothing = np.full((len(rows), candidates), -1)
    found = Matches(
        box=nothing,
        distance=np.full(nothing.shape, np.nan),
        turn=np.zeros_like(nothing),
        shift_voxel=np.zeros((*nothing.shape, 3), dtype=np.int64),
    )
    for start in range(0, len(rows), _VOLUMES_AT_ONCE):
        part = slice(start, start + _VOLUMES_AT_ONCE)
        chosen = _screen(volumes, rows[part], boxes, own[part], search, candidates, on_volumes)
        for place, (row, near) in enumerate(zip(rows[part], chosen, strict=True), start):
            _refine(volumes[row], boxes, near[near >= 0], search, found, place)
            on_volumes(0.5)
    order = np.argsort(found.distance, axis=1, kind="stable")  # NaN last
    sort = np.take_along_axis
    return Matches(
        sort(found.box, order, 1),
        sort(found.distance, order, 1),
        sort(found.turn, order, 1),
        sort(found.shift_voxel, order[..., None], 1),
    )


def aligned_box(
    box: Float[np.ndarray, "z y x"], turn: Turn, shift_voxel: Sequence[int], *, fill: float = 0.0
) -> Float[np.ndarray, "z y x"]:
    """Return a box turned about voxel D/2 and then shifted (zyx), so that it lies on the volume that it matches.

    Where the moved box has no voxel it is `fill`; 0 is the mean of a z-scored box.
    """
    turned = turn_half(box, turn)
    for axis, sign in enumerate(SIGNS[turn]):
        if sign < 0 and box.shape[axis] % 2 == 0:
            turned[(slice(None),) * axis + (0,)] = fill  # without a partner: it kept its place
    moved = np.full_like(turned, fill)
    to = tuple(slice(max(0, s), edge + min(0, s)) for s, edge in zip(shift_voxel, box.shape, strict=True))
    of = tuple(slice(max(0, -s), edge + min(0, -s)) for s, edge in zip(shift_voxel, box.shape, strict=True))
    moved[to] = turned[of]
    return moved


def _screen(
    volumes: np.ndarray,
    rows: np.ndarray,
    boxes: np.ndarray,
    own: np.ndarray,
    search: Search,
    candidates: int,
    on_volumes: Callable[[float], None],
) -> Int64[np.ndarray, "n k"]:
    """Return the boxes most correlated with each volume on the screening grid; -1 where there is none."""
    # the grid is centered on voxel D/2: a turn flips it
    middle = search.sampling([0])[0]
    coarse = torch.stack([_apply(torch.from_numpy(volumes[[row]]), middle)[0] for row in rows])
    codes = _unit(torch.cat([coarse.flip(axes) for axes in _FLIPS]).flatten(1))
    sampling = search.sampling(search.lags[:: search.step_voxel])
    shifts = len(sampling) ** 3
    at_once = max(1, min(32, _PRODUCT_NUMBERS // (len(codes) * shifts)))
    best, chosen = torch.empty(len(rows), 0), torch.empty(len(rows), 0, dtype=torch.int64)
    mine = torch.from_numpy(own)
    for start in range(0, len(boxes), at_once):
        part = _box_codes(boxes[start : start + at_once], sampling)
        # the highest over shifts and turns, per volume and box
        score = (codes @ part.T).view(len(TURNS), len(rows), -1, shifts).amax(dim=(0, 3))
        numbers = torch.arange(start, start + score.shape[1])
        score[mine[:, None] == numbers] = -torch.inf
        best = torch.cat([best, score], dim=1)
        chosen = torch.cat([chosen, numbers.expand(len(rows), -1)], dim=1)
        best, place = best.topk(min(candidates, best.shape[1]), dim=1)
        chosen = chosen.gather(1, place)
        on_volumes(len(rows) * len(numbers) / len(boxes) / 2)
    chosen[best == -torch.inf] = -1
    return np.asarray(chosen.numpy())


def _box_codes(boxes: np.ndarray, sampling: Tensor) -> Float32[Tensor, "box*shift point"]:
    """Sample boxes at all screened shifts."""
    lags, points, edge = sampling.shape
    coarse = _apply(torch.from_numpy(np.array(boxes, dtype=np.float32)), sampling.reshape(-1, edge))
    coarse = coarse.view(-1, lags, points, lags, points, lags, points).permute(0, 1, 3, 5, 2, 4, 6)
    return _unit(coarse.reshape(-1, points**3))


def _apply(volumes: Tensor, weights: Float32[Tensor, "new old"]) -> Tensor:
    """Apply one weight matrix to all three axes."""
    # one axis at a time: a single einsum would first make the product of the weights
    planes: Tensor = weights @ (volumes @ weights.T)
    result: Tensor = (weights @ planes.flatten(2)).view(len(volumes), len(weights), *planes.shape[2:])
    return result


def _unit(codes: Tensor) -> Tensor:
    """Return rows of mean 0 and length 1; a constant row becomes 0, like nothing."""
    codes = codes - codes.mean(dim=1, keepdim=True)
    length: Tensor = codes.norm(dim=1, keepdim=True)
    return codes / length.clamp(min=1e-6)


def _refine(
    volume: np.ndarray, boxes: np.ndarray, near: Int64[np.ndarray, "k"], search: Search, found: Matches, place: int
) -> None:
    """Measure the distance to each box that is `near` in full resolution, and write it into row `place` of `found`."""
    template = _templates(volume, search)
    for start in range(0, len(near), _REFINED_AT_ONCE):
        part = slice(start, min(start + _REFINED_AT_ONCE, len(near)))
        correlation = _correlations(template, boxes[near[part]], search)
        best, where = correlation.flatten(1).max(dim=1)
        turn, *lag = np.unravel_index(where.numpy(), correlation.shape[1:])
        # volume(x) ~ box(R x + lag) = turned(x + R lag): the turned box moves by -R lag
        signs = np.array([SIGNS[turn] for turn in TURNS])[turn]
        found.box[place, part] = near[part]
        found.distance[place, part] = 1 - best.numpy().astype(np.float64)
        found.turn[place, part] = turn
        found.shift_voxel[place, part] = -signs * search.lags[np.stack(lag, axis=-1)]


def _templates(volume: np.ndarray, search: Search) -> Tensor:
    """Return the conjugate spectra of the compared cube in all turns: mean 0, length 1, and 0 around it."""
    cube = (search.cube,) * 3
    inside = torch.from_numpy(volume[cube].astype(np.float64))
    inside -= inside.mean()
    inside /= inside.norm().clamp(min=1e-6)
    turned = torch.zeros(len(TURNS), *volume.shape)
    for template, axes in zip(turned, _FLIPS, strict=True):
        template[cube] = inside.flip(axes).float()  # the cube is centered on voxel D/2, like the turn
    spectra: Tensor = torch.fft.rfftn(turned, dim=(1, 2, 3))
    return spectra.conj().resolve_conj()


def _correlations(templates: Tensor, boxes: np.ndarray, search: Search) -> Float32[Tensor, "k turn lag lag lag"]:
    """Return Pearson's correlation of the compared cube with each box, in each turn, at each shift."""
    values = torch.from_numpy(boxes.astype(np.float32))
    values = values - values.mean(dim=(1, 2, 3), keepdim=True)
    spectra = torch.fft.rfftn(values, dim=(1, 2, 3))
    product = torch.stack([_at_lags(spectra * template, search) for template in templates], dim=1)
    window = torch.from_numpy(
        np.stack([np.isin(np.arange(search.edge_voxel) - lag, np.r_[search.cube]) for lag in search.lags])
    ).float()
    compared = (2 * search.half_voxel + 1) ** 3
    mean = _apply(values, window) / compared
    spread = _apply(values.square(), window) / compared - mean.square()
    # a constant part of a box resembles nothing
    floor = 1e-6 * values.square().mean(dim=(1, 2, 3)).clamp(min=1e-12)[:, None, None, None]
    length = (spread.clamp(min=0) * compared).sqrt()[:, None]
    return torch.where((spread > floor)[:, None], product / length.clamp(min=1e-6), torch.zeros(())).clamp(-1, 1)


def _at_lags(spectra: Tensor, search: Search) -> Float32[Tensor, "n lag lag lag"]:
    """Return the values of half spectra at the shifts of the search, zyx."""
    whole, half = search.waves
    lines = torch.einsum("zi,nijk->nzjk", whole, spectra)
    planes = torch.einsum("yj,nzjk->nzyk", whole, lines)
    return torch.einsum("xk,nzyk->nzyx", half, planes).real
