"""Draw the pictures of docs/explanation/simulation.md: ``simulation_pictures.py PROJECT FOLDER``.

PROJECT is what ``frazil simulate --out PROJECT --preset czii --count 1 --seed 1`` wrote. Of every class the first five particles whose
box lies in the tomogram are drawn: no choosing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from frazil.core.files import atomic_path
from frazil.core.settings import SourceSettings
from frazil.io.sources import open_source
from frazil.plots.page import DPI
from frazil.plots.slices import VolumeRow, class_page

BOX = 64
COUNT = 5


def boxes(volume: np.ndarray, centers_voxel: np.ndarray) -> np.ndarray:
    """Return z-scored boxes around the first particles whose box lies wholly in the tomogram."""
    starts = np.rint(centers_voxel).astype(int) - BOX // 2
    inside = ((starts >= 0) & (starts + BOX <= volume.shape)).all(axis=1)
    cut = [volume[z : z + BOX, y : y + BOX, x : x + BOX] for z, y, x in starts[inside][:COUNT]]
    return np.stack([(box - box.mean()) / box.std() for box in cut])


def main() -> None:
    """Write one PNG a class."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    source = open_source(arguments.project, SourceSettings(tomogram_type="denoised"))
    run = source.runs()[0]
    tomogram = source.read(run)
    voxel_size_angstrom = tomogram.header.voxel_size_angstrom
    for picks in source.picks():
        if picks.run != run:
            continue
        rows = [VolumeRow("Simulated", boxes(tomogram.volume, picks.centers_angstrom / voxel_size_angstrom))]
        page = class_page(picks.label, rows, voxel_size_angstrom=voxel_size_angstrom)
        path = arguments.folder / f"simulated-{picks.label}.png"
        with atomic_path(path) as temporary:
            page.figure.savefig(temporary, format="png", dpi=DPI // 2, metadata={"Software": None})
        print(path)


if __name__ == "__main__":
    main()
