"""What a simulation may ask for before anything is written: memory for its tomograms, voxels for its pyramids."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from frazil.core.errors import SimulationError
from frazil.core.machine import machine_memory
from frazil.simulation.specimen.packing import box_edge
from frazil.simulation.structures.library import Structure

SHORTEST_EDGE_VOXEL = 8
"""Of the coarsest resolution of a tomogram."""

# At the peak, measured: 3.2 GB for 73 million voxels, 0.4 GB of them before there is a tomogram.
_BYTES_A_VOXEL = 40
_BYTES_A_PROCESS = 400_000_000
_BYTES_A_BOX_VOXEL = 16  # of the box that one particle is drawn in

Shape = tuple[int, int, int]


def most_levels(shape_voxel: Sequence[int]) -> int:
    """Return how many resolutions a tomogram can have; each level halves the edges, rounding up."""
    levels, edge = 1, min(shape_voxel)
    while (edge := -(-edge // 2)) >= SHORTEST_EDGE_VOXEL:
        levels += 1
    return levels


def check_levels(levels: int, shapes_voxel: Iterable[Shape]) -> None:
    """Refuse more resolutions than the smallest tomogram can have.

    Raises
    ------
    SimulationError : names the most.
    """
    for shape in shapes_voxel:
        if levels > most_levels(shape):
            raise SimulationError(
                f"levels {levels}: {_joined(shape)} voxels allow {most_levels(shape)} at most, so that the coarsest has "
                f"{SHORTEST_EDGE_VOXEL} along each edge; ask for fewer"
            )


def check_memory(
    grids: Sequence[tuple[Shape, float]],
    structures: Iterable[Structure],
    *,
    workers: int,
    machine_bytes: int | None = None,
) -> None:
    """Refuse tomograms that do not fit into the machine's memory.

    Parameters
    ----------
    grids : shape and voxel size of each tomogram.
    workers : how many are simulated at a time.
    machine_bytes : None asks the operating system.

    Raises
    ------
    SimulationError : names what it takes, what there is, and what to change.
    """
    if machine_bytes is None:
        machine_bytes = machine_memory()
    structures, at_a_time = list(structures), min(workers, len(grids))
    for shape, voxel_size_angstrom in grids:
        edge = max((box_edge(structure, voxel_size_angstrom) for structure in structures), default=0)
        margins = math.prod(length + edge for length in shape) - math.prod(shape)
        needed = _BYTES_A_PROCESS + _BYTES_A_VOXEL * math.prod(shape) + margins + _BYTES_A_BOX_VOXEL * edge**3
        if at_a_time * needed > machine_bytes:
            fitting = machine_bytes // needed
            each = f"{at_a_time} at a time, {_gigabytes(needed)} each" if at_a_time > 1 else _gigabytes(needed)
            fewer = f", or --workers {fitting}" if fitting else ""
            raise SimulationError(
                f"shape {_joined(shape)} with voxels of {voxel_size_angstrom:g} A: takes about {each}, and this machine has "
                f"{_gigabytes(machine_bytes)}; ask for a smaller shape or a coarser voxel{fewer}"
            )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count < 1e11 else f"{count / 1e9:,.0f} GB"


def _joined(shape_voxel: Sequence[int]) -> str:
    return ",".join(map(str, shape_voxel))
