from dataclasses import dataclass

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, label

from frazil.core.errors import SimulationError
from frazil.simulation.specimen import surroundings
from frazil.simulation.specimen.inclusions import CARBON_DENSITY, GOLD_DENSITY
from frazil.simulation.specimen.packing import Slab
from frazil.simulation.specimen.surroundings import SurroundingsSettings, add_background, add_solid_things

SHAPE = (60, 80, 90)
VOXEL = 10.0
ICE = (45.0, 545.0)
SLAB = Slab(SHAPE, thickness_voxel=50.0)
TILTED = Slab(SHAPE, thickness_voxel=22.0, tilt_degrees=(12.0, -18.0))


@dataclass
class Drawn:
    density: np.ndarray
    solid: np.ndarray | None


def draw(seed: int = 0, slab: Slab = SLAB, **options) -> Drawn:
    """Everything that is asked for, with dissolved protein last, as in a specimen without particles."""
    settings = SurroundingsSettings(**options)
    generator = np.random.default_rng(seed)
    density = np.zeros(SHAPE, dtype=np.float32)
    solid = add_solid_things(density, settings, slab, VOXEL, generator)
    if concentration := settings.background_protein_mg_per_ml:
        taken = np.zeros(SHAPE, dtype=bool) if solid is None else solid
        add_background(density, taken, concentration, VOXEL, slab, generator, clump=settings.background_clump)
    return Drawn(density, solid)


def nothing_solid(density: np.ndarray) -> np.ndarray:
    return np.zeros(density.shape, dtype=bool)


def along_normal(slab: Slab) -> np.ndarray:
    """Distance of every voxel from the middle plane, by the definition of the ice, voxels."""
    z, y, x = (axis - (edge - 1) / 2 for axis, edge in zip(np.indices(slab.shape_voxel), slab.shape_voxel, strict=True))
    rise_y, rise_x = np.tan(np.radians(slab.tilt_degrees))
    return (z - rise_y * y - rise_x * x) / np.sqrt(1 + rise_y**2 + rise_x**2)


def test_gold_beads_are_counted_and_lie_in_the_ice():
    drawn = draw(gold_beads=6, gold_bead_diameter_angstrom=80)
    assert drawn.density.dtype == np.float32
    assert drawn.solid.shape == drawn.density.shape == SHAPE
    assert label(drawn.solid)[1] == 6
    assert drawn.density.max() == pytest.approx(GOLD_DENSITY, rel=0.02)
    planes = np.flatnonzero(drawn.solid.any(axis=(1, 2))) * VOXEL
    assert planes.min() >= ICE[0] - VOXEL
    assert planes.max() <= ICE[1] + VOXEL


def test_vesicles_keep_apart_and_fit_between_the_faces_of_the_ice():
    drawn = draw(vesicles=3, vesicle_radius_angstrom=(80, 110), gold_beads=3)
    assert label(drawn.solid)[1] == 6
    assert not drawn.solid[: int(ICE[0] / VOXEL) - 1].any()
    assert not drawn.solid[int(ICE[1] / VOXEL) + 2 :].any()
    # A vesicle is cut open: its inside is ice, and yet no place for a particle.
    pieces, _ = label(drawn.solid)
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    assert np.count_nonzero(np.abs(drawn.density[largest]) < 0.02) > 100


def test_vesicles_too_large_for_the_ice_are_drawn_smaller_or_refused(refuses):
    drawn = draw(vesicles=1, vesicle_radius_angstrom=(150, 2000))
    assert not drawn.solid[:4].any()
    with refuses(SimulationError, "radius 300 A", "ice 500 A thick", "thicker ice"):
        draw(vesicles=1, vesicle_radius_angstrom=(300, 400))


def test_more_than_fits_is_refused(refuses):
    with refuses(SimulationError, "2 vesicles and 900 gold beads", "room for", "fewer"):
        draw(vesicles=2, vesicle_radius_angstrom=(60, 80), gold_beads=900)


@pytest.mark.parametrize("seed", range(6))
def test_the_carbon_edge_lies_at_one_face_and_leaves_most_of_the_hole(seed):
    drawn = draw(seed, carbon_edge=True, carbon_thickness_angstrom=160)
    planes = np.flatnonzero(drawn.solid.any(axis=(1, 2)))
    assert len(planes) * VOXEL == pytest.approx(160, abs=25)
    assert planes[0] * VOXEL == pytest.approx(ICE[0], abs=15) or planes[-1] * VOXEL == pytest.approx(ICE[1], abs=15)
    covered = drawn.solid[int(planes.mean())]
    assert 0.01 < covered.mean() < 0.45
    assert not covered[40, 45]  # the middle is free
    assert drawn.density.max() == pytest.approx(CARBON_DENSITY, rel=0.01)
    assert label(covered)[1] == 1


def test_the_background_has_the_concentration_asked_for_and_stays_in_the_ice():
    drawn = draw(background_protein_mg_per_ml=30)
    assert drawn.solid is None
    inside = drawn.density[8:52]
    assert inside.mean(dtype=float) == pytest.approx(30 * 6.022e-4, rel=0.06)
    assert drawn.density[0].max() < 1e-3
    assert drawn.density.min() >= 0
    profile = drawn.density.mean(axis=(0, 1))
    assert profile[:3].mean() == pytest.approx(profile.mean(), rel=0.35)  # globules beside the tomogram reach into it


def test_globules_are_as_large_and_dense_as_proteins():
    """The autocorrelation of sparse globules of some 40 to 60 kDa falls off within their diameter of some 50 A."""
    density = np.zeros((64, 64, 64), dtype=np.float32)
    add_background(density, nothing_solid(density), 20.0, 6.0, Slab(density.shape), np.random.default_rng(3))
    assert 0.4 < np.percentile(density, 99.9) < 1.7
    power = np.abs(np.fft.fftn(density - density.mean())) ** 2
    correlation = np.fft.ifftn(power).real[:, 0, 0]
    correlation /= correlation[0]
    assert correlation[2] > 0.4  # 12 A
    assert abs(correlation[12]) < 0.15  # 72 A


def test_there_is_no_dissolved_protein_in_solid_things():
    bare = draw(4, carbon_edge=True)
    wet = draw(4, carbon_edge=True, background_protein_mg_per_ml=60)
    deep = binary_erosion(bare.solid, iterations=5)
    assert deep.any()
    np.testing.assert_allclose(wet.density[deep], bare.density[deep], atol=0.02)


def test_dissolved_protein_follows_tilted_ice():
    density = np.mean([draw(i, slab=TILTED, background_protein_mg_per_ml=30).density for i in range(8)], axis=0)
    away = np.abs(along_normal(TILTED))
    assert density[away > 11 + 6].max() < 3e-3  # a globule's reach beyond the face
    assert density[away < 11 - 4].mean(dtype=float) == pytest.approx(30 * 6.022e-4, rel=0.08)


@pytest.mark.parametrize("seed", range(3))
def test_solid_things_follow_tilted_ice(seed):
    away = along_normal(TILTED)
    things = draw(seed, slab=TILTED, vesicles=1, vesicle_radius_angstrom=(60, 65), gold_beads=4)
    assert label(things.solid)[1] == 5
    assert np.abs(away[things.solid]).max() < 11 + 1
    film = draw(seed, slab=TILTED, carbon_edge=True, carbon_thickness_angstrom=80)
    across = away[film.density > 0.5 * CARBON_DENSITY]
    face = 11 if across.mean() > 0 else -11
    assert np.ptp(across) == pytest.approx(8, abs=1)
    assert max(across, key=abs) == pytest.approx(face, abs=0.6)
    assert np.abs(across).min() == pytest.approx(3, abs=0.6)


def test_dissolved_protein_is_never_denser_than_protein():
    crowded = draw(background_protein_mg_per_ml=200)
    assert 0.7 < crowded.density.max() < 1.0
    protein = np.full(SHAPE, 0.5, dtype=np.float32)
    protein[:, :40] = 1.3
    wet = protein.copy()
    add_background(wet, nothing_solid(wet), 200.0, VOXEL, SLAB, np.random.default_rng(0))
    np.testing.assert_array_equal(wet[:, :40], protein[:, :40])  # there is no room for more
    assert 0.6 < wet[:, 40:].max() < 1.0


def test_globules_hang_together_in_threads_of_the_asked_mean_length():
    """Alone, pairs of globules are as likely at 45 A as anywhere; in threads of five, four of five have the next one there."""
    centers = np.random.default_rng(0).uniform(0, 5000, size=(2000, 3))
    together = surroundings._threaded(centers, 5.0, np.random.default_rng(1))
    steps = np.linalg.norm(np.diff(together, axis=0), axis=1)
    near = np.abs(steps - 45) < 1e-6
    assert near.mean() == pytest.approx(0.8, abs=0.03)
    assert np.median(steps[~near]) > 1000
    alone, clumped = (draw(1, background_protein_mg_per_ml=5.0, background_clump=clump).density for clump in (1.0, 6.0))
    assert clumped.sum() == pytest.approx(alone.sum(), rel=0.1)
    coarse = [
        np.add.reduceat(np.add.reduceat(d[5:55].sum(axis=0), range(0, 80, 10), 0), range(0, 90, 10), 1)
        for d in (alone, clumped)
    ]
    assert coarse[1].std() > 1.5 * coarse[0].std()
