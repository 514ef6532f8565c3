"""What a simulation may ask for before anything is written: memory for its tomograms, voxels for its pyramids."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from frazil.core.errors import SimulationError
from frazil.core.memory import machine_memory
from frazil.io.ome_zarr import SHORTEST_EDGE_VOXEL, most_levels
from frazil.simulation.specimen.packing import box_edge
from frazil.simulation.structures.catalog import Structure
from frazil.simulation.text import joined

# At the peak, measured: 3.2 GB for 73 million voxels, 0.4 GB of them before there is a tomogram.
_BYTES_PER_VOXEL = 40
_BYTES_PER_PROCESS = 400_000_000
_BYTES_PER_BOX_VOXEL = 16  # of the box that one particle is drawn in

Grid = tuple[tuple[int, int, int], float]  # shape in voxels and voxel size in angstrom of a tomogram


def check_grids(grids: Iterable[Grid], structures: Iterable[Structure], *, levels: int | None) -> None:
    """Refuse voxels that are coarser than a particle, and more resolutions than the smallest tomogram can have."""
    smallest = min(structures, key=lambda structure: structure.radius_angstrom)
    for shape, voxel_size_angstrom in grids:
        if voxel_size_angstrom > smallest.radius_angstrom:
            raise SimulationError(
                f"voxel size {voxel_size_angstrom:g} A: coarser than {smallest.label}, whose radius is "
                f"{smallest.radius_angstrom:g} A; use a finer voxel or leave that particle out"
            )
        if levels is not None and levels > most_levels(shape):
            raise SimulationError(
                f"levels {levels}: {joined(shape)} voxels allow {most_levels(shape)} at most, so that the coarsest has "
                f"{SHORTEST_EDGE_VOXEL} along each edge; ask for fewer"
            )


def peak_bytes(shape_voxel: Sequence[int]) -> int:
    """Return the memory that the simulation of a tomogram takes, without what is kept after it was freed."""
    return _BYTES_PER_PROCESS + _BYTES_PER_VOXEL * math.prod(shape_voxel)


def check_memory(
    grids: Sequence[Grid], structures: Sequence[Structure], *, workers: int, machine_bytes: int | None = None
) -> None:
    """Refuse tomograms that, as many at a time as there are workers, do not fit into the machine's memory."""
    machine_bytes = machine_bytes or machine_memory()
    at_a_time = min(workers, len(grids))
    for shape, voxel_size_angstrom in grids:
        edge = max((box_edge(structure, voxel_size_angstrom) for structure in structures), default=0)
        margins = math.prod(length + edge for length in shape) - math.prod(shape)
        needed = peak_bytes(shape) + margins + _BYTES_PER_BOX_VOXEL * edge**3
        if at_a_time * needed > machine_bytes:
            fitting = machine_bytes // needed
            each = f"{at_a_time} at a time, {_gigabytes(needed)} each" if at_a_time > 1 else _gigabytes(needed)
            fewer = f", or use {fitting} workers" if fitting else ""
            raise SimulationError(
                f"shape {joined(shape)} with voxels of {voxel_size_angstrom:g} A: takes about {each}, and this machine has "
                f"{_gigabytes(machine_bytes)}; ask for a smaller shape or a coarser voxel{fewer}"
            )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count < 1e11 else f"{count / 1e9:,.0f} GB"
