"""Where the layouts come from: picks and segmentations that exist, a table, or statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from frazil.core.console import warn
from frazil.core.errors import MissingMapError, MissingTomogramError, PickError, RequestError
from frazil.core.files import bytes_digest, text_digest
from frazil.core.records import Layout, Picks, TiltRange, TomogramHeader
from frazil.core.seeds import numpy_generator
from frazil.core.settings import Units
from frazil.io.checks import check_run
from frazil.io.like import LikeOptions, read_likenesses
from frazil.io.pick_tables import read_pick_table
from frazil.io.sources import Source, open_source
from frazil.model.bundle import BundleCard
from frazil.sampling.arrange import check_layout
from frazil.volume.arrangement import draw_layout


@dataclass(frozen=True)
class RunMaps:
    """The label maps of one run of a project, read where and when they are needed.

    `names` has an empty text for each that the run lacks; `grid_voxel` is the shape of its segmentations.
    """

    source: Source
    run: str
    names: tuple[str, ...]
    grid_voxel: tuple[int, int, int]

    def read(self, shape_voxel: Sequence[int]) -> Bool[np.ndarray, "maps z y x"]:
        """Return the maps on another grid of the same extent, the nearest voxel of each."""
        found = np.zeros((len(self.names), *shape_voxel), dtype=bool)
        nearest = [
            ((np.arange(edge) + 0.5) * own / edge).astype(int)
            for edge, own in zip(shape_voxel, self.grid_voxel, strict=True)
        ]
        for number, name in enumerate(self.names):
            if name:
                found[number] = self.source.label_map(self.run, name, self.grid_voxel)[np.ix_(*nearest)]
        return found


@dataclass(frozen=True)
class PlannedTomogram:
    """One tomogram to compose; its seeds are derived from the index: a number, or the name of the run whose picks it has.

    `contrast_of` is the training tomogram whose contrast it gets; None leaves it as the network makes it.
    """

    run: str
    index: int | str
    shape_voxel: tuple[int, int, int]
    layout: Layout
    tilt_range_degrees: TiltRange | None
    maps: RunMaps | None = None
    contrast_of: str | None = None

    @cached_property
    def digest(self) -> str:
        """Digest of the layout, label maps included, and the grid."""
        layout = self.layout
        content: tuple[Any, ...] = (layout.label.tolist(), layout.center_voxel.tolist(), layout.rotation.tolist())
        if self.maps is not None:
            content += (bytes_digest(np.packbits(self.maps.read(self.shape_voxel)).data),)
        if self.contrast_of is not None:
            content += (self.contrast_of,)
        return text_digest(f"{self.shape_voxel} {self.tilt_range_degrees} {content}")


def plan_drawn(
    card: BundleCard, shape_voxel: tuple[int, int, int], indices: Iterable[int], seed: int
) -> list[PlannedTomogram]:
    """Draw layouts like those of the training tomograms; the one of tomogram i depends on (seed, i)."""
    if card.layouts is None:
        raise RequestError(
            "layouts: the bundle does not say how particles are arranged; name a project to be like, or a table of picks"
        )
    plans = []
    for index in indices:
        run, generator = f"COMP_{index:03d}", numpy_generator(seed, "layout", index)
        layout = draw_layout(card.layouts, shape_voxel, card.radius_angstrom, generator)
        check_layout(layout, shape_voxel, card, run)
        plans.append(PlannedTomogram(run, index, shape_voxel, layout, card.tilt_range_degrees))
    return plans


def plan_like(card: BundleCard, options: LikeOptions, usual: TomogramHeader) -> list[PlannedTomogram]:
    """Return the layouts of an annotated project, at the bundle's voxel size. Runs keep their names."""
    found, _ = read_likenesses(options, usual)
    plans = [_planned(card, likeness.header, likeness.picks, str(options.project)) for likeness in found.values()]
    return _with_maps(plans, open_source(options.project, options.source), card.maps) if card.maps else plans


def _with_maps(plans: Sequence[PlannedTomogram], source: Source, names: Sequence[str]) -> list[PlannedTomogram]:
    """Add the label maps of each run; one that is missing is empty, with a warning."""
    missing: dict[str, list[str]] = {}
    found = []
    for plan in plans:
        grid, there = plan.shape_voxel, list(names)
        for number, name in enumerate(names):
            try:
                grid = source.header(plan.run).shape_voxel  # without a tomogram, a segmentation has no place
                source.label_map(plan.run, name, grid, slice(0, 0))
            except (MissingMapError, MissingTomogramError):
                there[number] = ""
                missing.setdefault(plan.run, []).append(name)
        found.append(replace(plan, maps=RunMaps(source, plan.run, tuple(there), grid)))
    if missing:
        lacking = "; ".join(f"{run}: {', '.join(some)}" for run, some in missing.items())
        warn(f"{source.path}: label maps that the bundle knows are missing, and told to be empty ({lacking})")
    return found


def plan_table(card: BundleCard, path: Path, units: Units | None, usual: TomogramHeader) -> list[PlannedTomogram]:
    """Return the layouts of a table of picks, one for each tomogram that it names, on the grid of `usual`."""
    table = read_pick_table(path, units)
    if units is None and any(some.unit == "voxel" for some in table):
        raise PickError(
            f"{path}: does not say what x, y and z are in; give the units: voxel (of {usual.voxel_size_angstrom:g} A, the "
            "bundle's) or angstrom"
        )
    by_run: dict[str, list[Picks]] = {}
    for some in table:
        by_run.setdefault(check_run(some.tomogram, PickError), []).append(some.placed(usual))
    return [
        _planned(card, TomogramHeader(run, usual.shape_voxel, usual.voxel_size_angstrom, str(path)), picks, str(path))
        for run, picks in sorted(by_run.items())
    ]


def _planned(card: BundleCard, header: TomogramHeader, picks: Sequence[Picks], origin: str) -> PlannedTomogram:
    if unknown := sorted({some.label for some in picks} - set(card.labels)):
        raise PickError(
            f"{origin}: {unknown[0]} is no class of the bundle, which knows {', '.join(card.labels)}; leave it out by choosing "
            "labels, or rename it"
        )
    unturned = [np.full((len(some), 3, 3), np.nan) if some.rotations is None else some.rotations for some in picks]
    layout = Layout(
        np.concatenate([np.full(len(some), card.labels.index(some.label)) for some in picks]),
        np.concatenate([some.centers_angstrom for some in picks]) / header.voxel_size_angstrom,
        np.concatenate(unturned),
    )
    tilts = header.tilt_range_degrees or card.tilt_range_degrees
    check_layout(layout, header.shape_voxel, card, f"{origin}: {header.run}")
    return PlannedTomogram(header.run, header.run, header.shape_voxel, layout, tilts)


def with_contrasts(
    plans: Sequence[PlannedTomogram], card: BundleCard, seed: int, asked: str | None
) -> list[PlannedTomogram]:
    """Choose the training tomogram whose contrast each gets: the one that is asked for, or any with its tilt range, by the seed."""
    known = card.contrasts
    if asked is not None and asked not in known:
        raise RequestError(
            f"contrast of {asked}: the bundle doesn't know it; it knows {', '.join(sorted(known)) or 'none, so leave it out'}"
        )
    chosen = []
    for plan in plans:
        tilts = plan.tilt_range_degrees
        fitting = [run for run in sorted(known) if known[run].tilt_range_degrees == tilts]
        if asked is not None and asked not in fitting:
            raise RequestError(
                f"contrast of {asked}: its tilts are {known[asked].tilt_range_degrees}, those of {plan.run} {tilts}; ask for the same "
                "tilt range"
            )
        if fitting:
            drawn = int(numpy_generator(seed, "contrast", plan.index).integers(len(fitting)))
            plan = replace(plan, contrast_of=asked or fitting[drawn])
        chosen.append(plan)
    return chosen


def counts(layout: Layout, labels: Sequence[str]) -> Mapping[str, int]:
    """Return the number of particles of each class."""
    return dict(zip(labels, np.bincount(layout.label, minlength=len(labels)).tolist(), strict=True))
