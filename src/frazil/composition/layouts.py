"""Where the layouts come from: picks that exist, a table, or statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frazil.core.errors import PickError, RequestError
from frazil.core.files import text_digest
from frazil.core.records import Layout, Picks, TiltRange, TomogramHeader
from frazil.core.seeds import numpy_generator
from frazil.core.settings import Units
from frazil.io.checks import check_run
from frazil.io.like import LikeOptions, read_likenesses
from frazil.io.pick_tables import read_pick_table
from frazil.model.bundle import BundleCard
from frazil.sampling.arrange import check_layout
from frazil.volume.arrangement import draw_layout


@dataclass(frozen=True)
class PlannedTomogram:
    """One tomogram to compose; its seeds are derived from the index: a number, or the name of the run whose picks it has."""

    run: str
    index: int | str
    shape_voxel: tuple[int, int, int]
    layout: Layout
    tilt_range_degrees: TiltRange | None

    @property
    def digest(self) -> str:
        """Digest of the layout and the grid."""
        layout = self.layout
        content = (layout.label.tolist(), layout.center_voxel.tolist(), layout.rotation.tolist())
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
    return [_planned(card, likeness.header, likeness.picks, str(options.project)) for likeness in found.values()]


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


def counts(layout: Layout, labels: Sequence[str]) -> Mapping[str, int]:
    """Return the number of particles of each class."""
    return dict(zip(labels, np.bincount(layout.label, minlength=len(labels)).tolist(), strict=True))
