"""`composition.json`, which says what a composed project holds, and `tomogram.json`, which says it of one run."""

from __future__ import annotations

from typing import Any, ClassVar

from frazil.core.records import Moments, TiltRange
from frazil.core.settings import MemoryFormat, Precision, SamplingSettings, Settings
from frazil.core.version import __version__
from frazil.io.copick.project import CLASSES, INSTANCES
from frazil.io.copick.runs import ProjectRecord, WrittenRun

RECORD_FILE = "composition.json"
TOMOGRAM_TYPE = "denoised"
TYPES = {TOMOGRAM_TYPE: "as the tomograms that the bundle learned from; gray values"}

SEGMENTATIONS = {
    CLASSES: "0 where no particle is, else the number of its class (labels)",
    INSTANCES: "0 likewise, else the number of the particle: instance_id of its pick",
}


class Parameters(Settings):
    """All that decides what is written, except for which runs.

    Parameters
    ----------
    source : where the layouts come from: ``drawn`` from the bundle's statistics, ``like`` a project, or a table of ``picks``.
    orientations : whether the network is told them.
    precision, memory_format : that the network computed in.
    levels : resolutions of the tomograms' pyramids; a small tomogram has fewer.
    mrc : each tomogram is also written as ``mrc/<type>/<run>.mrc``.
    """

    bundle_digest: str
    seed: int
    source: dict[str, Any]
    orientations: bool
    sampling: SamplingSettings
    precision: Precision
    memory_format: MemoryFormat
    levels: int
    mrc: bool


class RunRecord(WrittenRun):
    """One composed tomogram. Its particles are in its picks.

    Parameters
    ----------
    index : what its seeds are derived from: a number, or the name of the run whose picks it has.
    layout_digest : of the layout and the grid.
    contrast_of : the training tomogram whose contrast it got.
    moments : mean and standard deviation of the gray values.
    """

    index: int | str
    layout_digest: str
    frazil_version: str = __version__
    tilt_range_degrees: TiltRange | None
    contrast_of: str | None = None
    moments: Moments

    @property
    def digest(self) -> str | None:
        """See `PlannedRun.digest`."""
        return self.layout_digest


class CompositionRecord(ProjectRecord):
    """`composition.json`.

    Parameters
    ----------
    bundle : its name.
    provenance : where its weights come from.
    tomograms_seen : digests of the tomograms that the bundle learned from.
    labels : number of each class in masks.
    runs : gathered from the runs' own records, by name.
    """

    written_by: ClassVar[str] = "frazil compose"

    schema_version: int = 1
    kind: str = "frazil composition"
    simulated: bool = True
    axis_order: str = "zyx"
    bundle: str
    provenance: str
    tomogram_types: dict[str, str] = TYPES
    segmentations: dict[str, str] = SEGMENTATIONS
    tomograms_seen: tuple[str, ...] = ()
    labels: dict[str, int]
    parameters: Parameters
    runs: dict[str, RunRecord]
