"""`frazil simulate --like`: which runs of an annotated project are simulated again."""

from __future__ import annotations

from frazil.core.console import warn
from frazil.core.records import TomogramHeader
from frazil.io.like import LikeOptions, read_likenesses
from frazil.simulation.project import RunPlan
from frazil.simulation.specimen.settings import SpecimenSettings


def plan_like(options: LikeOptions, specimen: SpecimenSettings) -> tuple[list[RunPlan], list[str]]:
    """Return one plan per run, and all picked classes (`read_likenesses`). Without a tomogram the grid is that of `specimen`.

    A run keeps its name, since its seeds are derived from it.
    """
    usual = TomogramHeader("", specimen.shape_voxel, specimen.voxel_size_angstrom, "preset")
    found, labels = read_likenesses(options, usual)
    headers = {run: likeness.header for run, likeness in found.items()}
    filled = [run for run, at in headers.items() if specimen.is_ice_too_thick(at.shape_voxel, at.voxel_size_angstrom)]
    if filled:
        warn(
            f"ice: {specimen.ice_thickness_angstrom:g} A thick in the preset, deeper than the tomogram of {', '.join(filled)}: "
            "ice fills it; ice thickness sets another"
        )
    return [RunPlan(run, run, likeness) for run, likeness in found.items()], labels
