"""What other programs want beside MRC copies of simulated tomograms: picks, tilts, templates.

mrc/TYPE/RUN.mrc             tomograms (`frazil.simulation.project`)
mrc/particles.csv            all picks, in voxels, as the paper's table
mrc/LABEL.star               picks of a class, as RELION 5 and pytom-match-pick take them
mrc/tilts/RUN.rawtlt         tilt angles in degrees, lowest first; RUN_dose.txt, the dose before each image, and RUN_defocus.txt
mrc/templates/LABEL.mrc      a particle as it is in the tomograms, dark; LABEL_mask.mrc, 1 inside and soft outside its radius
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from frazil.core.files import write_text
from frazil.core.records import Picks, TomogramHeader
from frazil.io.copick.runs import MRC_FOLDER
from frazil.io.mrc import write_volume
from frazil.io.pick_tables import write_pick_tables
from frazil.simulation.record import RunRecord
from frazil.simulation.structures.catalog import Structure

_SOFT_VOXEL = 1.5


def write_picks_and_tilts(out: Path, picks: Sequence[Picks], runs: Mapping[str, RunRecord]) -> None:
    """Write the picks of all runs, and the tilts of each."""
    folder = out / MRC_FOLDER
    headers = {
        run: TomogramHeader(run, record.shape_voxel, record.voxel_size_angstrom, f"{run}.mrc")
        for run, record in runs.items()
    }
    write_pick_tables(folder, picks, headers)
    for run, record in runs.items():
        series = record.tilt_series
        order = np.argsort(series["angles_degrees"])
        for suffix, key in (
            (".rawtlt", "angles_degrees"),
            ("_dose.txt", "dose_before_e_per_angstrom2"),
            ("_defocus.txt", "defocus_um"),
        ):
            values = "".join(f"{series[key][row]:g}\n" for row in order)
            write_text(folder / "tilts" / f"{run}{suffix}", values)


def density_map(structure: Structure, voxel_size_angstrom: float) -> Float[np.ndarray, "n n n"]:
    """Return the density of a particle, unturned, in a cube with a margin of a quarter of its radius."""
    edge = 2 * int(np.ceil(1.25 * structure.support_radius_angstrom / voxel_size_angstrom + 3 * _SOFT_VOXEL))
    return structure.density((edge, edge, edge), voxel_size_angstrom)


def write_templates(out: Path, structures: Mapping[str, Structure], voxel_size_angstrom: float) -> None:
    """Write a template and a mask for each structure."""
    for label, structure in structures.items():
        density = density_map(structure, voxel_size_angstrom)
        radius = structure.support_radius_angstrom / voxel_size_angstrom
        edge = len(density)
        squares = np.square(np.arange(edge) - edge // 2)
        distance = np.sqrt(squares[:, None, None] + squares[:, None] + squares)
        mask = np.exp(-0.5 * np.square(np.maximum(distance - radius, 0) / _SOFT_VOXEL))
        for name, volume in ((label, -density), (f"{label}_mask", mask)):
            path = out / MRC_FOLDER / "templates" / f"{name}.mrc"
            write_volume(path, volume, voxel_size_angstrom, simulated=True)
