"""`simulation.json`, which says what a simulated project holds, and `tomogram.json`, which says it of one run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from frazil.core.settings import Settings
from frazil.core.version import __version__
from frazil.io.copick.project import CLASSES, INSTANCES
from frazil.io.copick.runs import ProjectRecord, WrittenRun
from frazil.simulation.microscope.denoiser import DenoiserSettings
from frazil.simulation.microscope.microscope import MicroscopeSettings
from frazil.simulation.specimen.settings import SpecimenSettings
from frazil.simulation.structures.catalog import Structure
from frazil.simulation.tomogram import SimulatedTomogram

RECORD_FILE = "simulation.json"

TYPES = {
    "wbp": "weighted back-projection, CTF-corrected, noise and all; grey values, matter dark",
    "denoised": "the same after the denoiser's stand-in; grey values, matter dark",
    "even": "as wbp, from the even frames of every tilt",
    "odd": "as wbp, from the odd frames of every tilt",
    "clean": "minus the mass density over the ice, dalton per cubic angstrom: no noise, no wedge, no CTF",
}
"""Tomogram types, and what they are."""

HALVES = {"even", "odd"}
"""Types that cost one more back-projection."""

SEGMENTATIONS = {
    CLASSES: "0 where no solid body of an annotated particle is, else the number of its class (labels)",
    INSTANCES: "0 likewise, else the number of the particle: instance_id of its pick",
}
MEMBRANE = "membrane"


def segmentations(specimen: SpecimenSettings) -> dict[str, str]:
    """Return what the segmentations of a project say, by name; one of the membrane if there are vesicles."""
    said = "1 where the bilayer of a vesicle is, else 0"
    return SEGMENTATIONS | ({MEMBRANE: said} if specimen.surroundings.vesicles else {})


class Parameters(Settings):
    """All that decides what is written, except for which runs.

    Parameters
    ----------
    types : of `TYPES`.
    levels : resolutions of the tomograms' pyramids; a small tomogram has fewer.
    mrc : each tomogram is also written as ``mrc/<type>/<run>.mrc``.
    like : the project that is simulated again, and which of its picks; None for random places.
    structure_digests : of structure files, by path.
    specimen, microscope, denoiser, grey_std : of the preset.
    """

    seed: int
    types: tuple[str, ...]
    levels: int
    mrc: bool
    like: dict[str, Any] | None
    structure_digests: dict[str, str]
    specimen: SpecimenSettings
    microscope: MicroscopeSettings
    denoiser: DenoiserSettings
    grey_std: float


class RunRecord(WrittenRun):
    """What chance gave to one tomogram. Positions of annotated particles are in their picks.

    Parameters
    ----------
    index : what its seeds are derived from: a number, or the name of the real run.
    like_digest : of the picks that were simulated again, and of the grid they are in.
    distractors : number, centers and rotations of each class that is not annotated.
    grey_factor : gray values for one unit of image contrast.
    tilt_series : angles, doses, shifts and defocus of each image, in the order of acquisition.
    """

    index: int | str
    like_digest: str | None
    frazil_version: str = __version__
    distractors: dict[str, dict[str, Any]]
    crowding: float
    grey_factor: float
    tilt_series: dict[str, Any]

    @property
    def digest(self) -> str | None:
        """See `PlannedRun.digest`."""
        return self.like_digest


class SimulationRecord(ProjectRecord):
    """`simulation.json`.

    Parameters
    ----------
    preset : its name.
    calibrated_on : of the preset.
    labels : number of each annotated class in masks.
    structures : radius, mass and offset of each structure, distractors included.
    runs : gathered from the runs' own records, by name.
    """

    written_by: ClassVar[str] = "frazil simulate"

    schema_version: int = 2
    kind: str = "frazil simulation"
    simulated: bool = True
    axis_order: str = "zyx"
    preset: str
    calibrated_on: dict[str, float] | None = None
    tomogram_types: dict[str, str]
    segmentations: dict[str, str]
    labels: dict[str, int]
    structures: dict[str, dict[str, Any]]
    parameters: Parameters
    runs: dict[str, RunRecord]


def describe_run(
    tomogram: SimulatedTomogram, *, index: int | str, like_digest: str | None, files: tuple[str, ...]
) -> RunRecord:
    """Return the record of a simulated run."""
    specimen = tomogram.specimen
    series = {**vars(tomogram.series), "defocus_um": tomogram.defocus_um}
    return RunRecord(
        index=index,
        like_digest=like_digest,
        shape_voxel=specimen.density.shape,
        voxel_size_angstrom=specimen.voxel_size_angstrom,
        particles={some.structure.label: len(some) for some in specimen.placed},
        distractors={
            some.structure.label: {
                "count": len(some),
                "centers_angstrom": _rounded(some.centers_angstrom),
                "rotations": _rounded(some.rotations),
            }
            for some in specimen.distractors
        },
        crowding=specimen.crowding,
        grey_factor=tomogram.grey_factor,
        tilt_series={key: _rounded(value) if isinstance(value, np.ndarray) else value for key, value in series.items()},
        files=files,
    )


def describe_structures(structures: Mapping[str, Structure]) -> dict[str, dict[str, Any]]:
    """Return what users of picks need to know about each structure."""
    return {
        label: {
            "radius_angstrom": float(structure.radius_angstrom),
            "mass_kda": float(structure.mass_kda),
            "center_offset_angstrom": _rounded(structure.center_offset_angstrom),
        }
        for label, structure in sorted(structures.items())
    }


def _rounded(values: Any) -> list[Any]:
    rounded: list[Any] = np.round(np.asarray(values, dtype=np.float64), 6).tolist()
    return rounded
