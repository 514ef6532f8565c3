"""Real data of which only slices, or curves, are known: what simulations and generated volumes are compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from frazil.core.errors import SourceError
from frazil.core.files import text_digest
from frazil.core.slices import SliceCurves
from frazil.io.slices import read_slices
from frazil.volume.slices import SliceMeasurements, halves_floor, measure_slices


@dataclass(frozen=True)
class RealSlices:
    """Curves of real subtomograms; `measurements`, of each of them, is None where only curves are known."""

    curves: SliceCurves
    measurements: SliceMeasurements | None

    @property
    def digest(self) -> str:
        """Digest of the numbers, whoever wrote them."""
        return text_digest(self.curves.model_dump_json(exclude={"frazil_version"}))

    @property
    def class_weights(self) -> dict[str, float]:
        """How much each class counts in the curves; alike, where the file does not say how many there are."""
        counts = self.curves.per_class or dict.fromkeys(self.curves.radial_profile, 1)
        return {label: float(count) for label, count in counts.items()}


def read_real_slices(path: Path, *, voxel_size_angstrom: float | None = None) -> RealSlices:
    """Read measured curves (JSON), or measure slices (`frazil.io.slices`).

    Raises
    ------
    SourceError : neither, or damaged.
    ShapeError : a subtomogram with constant gray values.
    """
    if path.suffix.lower() == ".json":
        return RealSlices(SliceCurves.read(path, SourceError), None)
    found = measure_slices(read_slices(path, voxel_size_angstrom=voxel_size_angstrom))
    floors = {name: value for name, value in halves_floor(found).items() if math.isfinite(value)}
    return RealSlices(found.curves().model_copy(update={"floors": floors or None}), found)
