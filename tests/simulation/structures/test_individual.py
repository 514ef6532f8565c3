import numpy as np
import pytest

from frazil.core.errors import SimulationError
from frazil.simulation.specimen.packing import draw_body
from frazil.simulation.structures.catalog import find_structures
from frazil.simulation.structures.individual import broken_part
from frazil.simulation.structures.structure import StructureSettings, dense_voxels

VOXEL = 10.0


def draw(label: str = "virus-like-particle", seed: int | None = 0, **settings):
    """The body of one individual, or of the ideal particle without a seed."""
    (structure,) = find_structures([StructureSettings(label=label, **settings)]).values()
    generator = None if seed is None else np.random.default_rng(seed)
    return draw_body(structure, VOXEL, np.eye(3), np.zeros(3), generator=generator)


def kda(density: np.ndarray) -> float:
    return float(density.sum(dtype=np.float64)) * VOXEL**3 / 1000


def test_without_patches_and_contents_every_particle_is_the_ideal_one():
    assert np.array_equal(draw().density, draw(seed=None).density)


def test_patches_are_lognormal_and_leave_mass_and_mask():
    ideal = draw(seed=None)
    logarithms = []
    for seed in range(8):
        one = draw(seed=seed, patchiness=0.3)
        assert np.array_equal(one.solid, ideal.solid)
        assert kda(one.density) == pytest.approx(kda(ideal.density), rel=1e-5)
        dense = dense_voxels(ideal.density)
        logarithms.append(np.log(one.density[dense] / ideal.density[dense]))
    assert np.std(logarithms) == pytest.approx(0.3, rel=0.15)
    between = np.corrcoef(logarithms)[np.triu_indices(8, 1)]
    assert np.abs(between).mean() < 0.15  # each has its own patches


def test_contents_weigh_what_was_asked_and_stay_inside():
    ideal, filled = draw(seed=None), draw(contents_kda=500)
    added = filled.density - ideal.density
    assert kda(added) == pytest.approx(500, rel=1e-4)
    cavity = ideal.solid & ~dense_voxels(ideal.density)
    assert np.abs(added[~cavity]).max() < 1e-6
    assert np.array_equal(filled.solid, ideal.solid)
    radius = VOXEL * np.linalg.norm(np.indices(added.shape) - len(added) // 2, axis=0)
    assert added[cavity & (radius > 60)].mean() > added[cavity & (radius < 40)].mean()  # RNA clings to the shell


def test_contents_without_a_cavity_are_refused(refuses):
    with refuses(SimulationError, "beta-amylase", "500 kDa of contents", "no cavity", "hollow particles only"):
        draw("beta-amylase", contents_kda=500)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_broken_part_has_its_share_on_one_side(share):
    solid = np.linalg.norm(np.indices((31, 31, 31)) - 15, axis=0) <= 12
    part = broken_part(solid, share, VOXEL, np.random.default_rng(3))
    assert not (part & ~solid).any()
    assert part.sum() == pytest.approx(share * solid.sum(), rel=0.01)
    kept, lost = np.argwhere(part).mean(axis=0), np.argwhere(solid & ~part).mean(axis=0)
    along = (kept - lost) / np.linalg.norm(kept - lost)
    # Of a ball of radius R cut in the middle, the halves' centers are 3/4 R apart; elsewhere they are further.
    assert np.linalg.norm(kept - lost) > 0.7 * 12
    assert (np.argwhere(part) @ along).mean() > (np.argwhere(solid) @ along).mean()
