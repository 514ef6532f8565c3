"""What is refused before anything is written."""

import pytest

from frazil.core.errors import SimulationError
from frazil.simulation.limits import check_grids, check_memory, most_levels
from frazil.simulation.structures.built_in import PARTICLES

STRUCTURES = list(PARTICLES.values())
CZII = ((184, 630, 630), 10.0)


@pytest.mark.parametrize(
    ("shape", "most"), [((8, 8, 8), 1), ((14, 64, 64), 1), ((15, 64, 64), 2), ((32, 64, 64), 3), ((184, 630, 630), 5)]
)
def test_the_coarsest_level_has_eight_voxels(shape, most, refuses):
    assert most_levels(shape) == most
    check_grids([(shape, 10.0)], STRUCTURES, levels=most)
    with refuses(SimulationError, f"levels {most + 1}", ",".join(map(str, shape)), f"{most} at most", "fewer"):
        check_grids([CZII, (shape, 10.0)] if most < 5 else [(shape, 10.0)], STRUCTURES, levels=most + 1)


def test_voxels_are_finer_than_the_smallest_particle(refuses):
    check_grids([((8, 8, 8), 60.0)], STRUCTURES, levels=None)
    check_grids([((8, 8, 8), 100.0)], [PARTICLES["ribosome"]], levels=None)
    with refuses(SimulationError, "voxel size 61 A", "coarser than apo-ferritin", "60 A"):
        check_grids([((8, 8, 8), 61.0)], STRUCTURES, levels=None)


def test_a_tomogram_of_the_challenge_takes_three_gigabytes(refuses):
    check_memory([CZII], STRUCTURES, workers=1, machine_bytes=3_500_000_000)
    with refuses(SimulationError, "takes about 3.4 GB", "has 3.2 GB", "smaller shape or a coarser voxel"):
        check_memory([CZII], STRUCTURES, workers=1, machine_bytes=3_200_000_000)


def test_as_many_workers_as_fit_are_named(refuses):
    check_memory([CZII] * 2, STRUCTURES, workers=8, machine_bytes=8_000_000_000)
    with refuses(SimulationError, "8 at a time, 3.4 GB each", "has 8.0 GB", "use 2 workers"):
        check_memory([CZII] * 20, STRUCTURES, workers=8, machine_bytes=8_000_000_000)


def test_the_box_of_a_particle_counts_too(refuses):
    check_memory([((16, 16, 16), 10.0)], STRUCTURES, workers=1, machine_bytes=450_000_000)
    with refuses(SimulationError, "voxels of 0.05 A", "coarser voxel"):
        check_memory([((16, 16, 16), 0.05)], STRUCTURES, workers=1, machine_bytes=8_000_000_000)


def test_where_nothing_is_to_be_done_nothing_is_needed():
    check_memory([], STRUCTURES, workers=4, machine_bytes=1)
