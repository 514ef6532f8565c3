import itertools

import numpy as np
import pytest
from scipy.stats import chi2

from frazil.core.seeds import numpy_generator
from frazil.simulation.specimen.packing import Body, Canvas, Slab, box_edge, draw_body
from frazil.simulation.structures.built_in import PARTICLES


def lump(*voxels: tuple[int, int, int], edge: int = 7, shift=(0.0, 0.0, 0.0)) -> Body:
    """A body made of these voxels, counted from the middle of its box."""
    solid = np.zeros((edge, edge, edge), dtype=bool)
    for voxel in voxels:
        solid[tuple(edge // 2 + np.array(voxel))] = True
    return Body(solid.astype(np.float32), solid, np.eye(3), np.asarray(shift))


DOT = lump((0, 0, 0))
HOOK = lump((0, 0, 0), (1, 0, 0), (2, 0, 0), (2, 1, 0), (2, 1, 1), (0, 0, -1))


def slab_voxels(slab: Slab) -> np.ndarray:
    """Ice by its definition: at most half the thickness from the middle plane, measured along the normal."""
    z, y, x = (axis - (edge - 1) / 2 for axis, edge in zip(np.indices(slab.shape_voxel), slab.shape_voxel, strict=True))
    rise_y, rise_x = np.tan(np.radians(slab.tilt_degrees))
    distance = (z - rise_y * y - rise_x * x) / np.sqrt(1 + rise_y**2 + rise_x**2)
    return np.abs(distance) <= slab.thickness_voxel / 2


def free_places(body: Body, solid: np.ndarray, ice: np.ndarray) -> set[tuple[int, ...]]:
    """All places where the body fits, one by one."""
    places = set()
    for place in itertools.product(*map(range, ice.shape)):
        voxels = np.argwhere(body.solid) - body.middle + place
        inside = ((voxels >= 0) & (voxels < ice.shape)).all(axis=1)
        if ((voxels[:, 0] < 0) | (voxels[:, 0] >= ice.shape[0])).any():
            continue
        seen = tuple(voxels[inside].T)
        if not solid[seen].any() and ice[seen].all():
            places.add(place)
    return places


@pytest.mark.parametrize(
    "slab",
    [
        Slab((20, 24, 28), thickness_voxel=8.5),
        Slab((20, 24, 28), thickness_voxel=6, tilt_degrees=(12, -9)),
        Slab((20, 24, 28), thickness_voxel=9, tilt_degrees=(25, 40)),
    ],
)
def test_the_ice_lies_between_two_planes(slab):
    ice = slab_voxels(slab)
    assert slab.volume_voxel == ice.sum()
    assert np.linalg.norm(slab.normal) == pytest.approx(1)
    y, x = np.arange(24)[:, None], np.arange(28)
    lowest, highest = slab.heights(y, x, HOOK.offsets)
    z = np.arange(20)[:, None, None]
    padded = np.pad(ice, 2, mode="empty")
    padded[:2] = padded[-2:] = False
    for place in np.argwhere((z >= lowest) & (z <= highest)):
        voxels = HOOK.offsets + place
        seen = ((voxels[:, 1:] >= 0) & (voxels[:, 1:] < (24, 28))).all(axis=1)
        assert ice[tuple(voxels[seen].T)].all()
    free = free_places(HOOK, np.zeros_like(ice), ice)
    inner = {place for place in free if all((v >= 0).all() and (v < ice.shape).all() for v in HOOK.offsets + place)}
    between = {tuple(place) for place in np.argwhere((z >= lowest) & (z <= highest)).tolist()}
    assert inner <= between


def test_faces_of_the_ice_in_the_middle_of_the_tomogram():
    assert Slab((20, 9, 9)).faces_voxel == (-0.5, 19.5)
    assert Slab((20, 9, 9), thickness_voxel=8).faces_voxel == (5.5, 13.5)
    tilted = Slab((41, 9, 9), thickness_voxel=8, tilt_degrees=(0, 60))
    assert tilted.faces_voxel == pytest.approx((12, 28))  # twice as long a way through


def test_faces_of_tilted_ice_rise():
    tilted = Slab((41, 9, 9), thickness_voxel=8, tilt_degrees=(0, 45))
    below, above = tilted.faces_at(0.0, np.array([1.0, 4.0, 7.5, 60.0]))
    half = 4 * 2**0.5
    assert below == pytest.approx([17 - half, 20 - half, 23.5 - half, 76 - half])
    assert above == pytest.approx([17 + half, 20 + half, 23.5 + half, 40.5])  # the last is above the tomogram
    lowest, highest = tilted.columns
    assert (np.ceil(tilted.faces_at(0.0, np.arange(9.0))[0]) == lowest[0]).all()
    assert (np.floor(tilted.faces_at(0.0, np.arange(9.0))[1]) == highest[0]).all()


def test_ice_without_thickness_is_the_tomogram():
    assert Slab((4, 5, 6)).volume_voxel == 120
    assert Slab((4, 5, 6), thickness_voxel=4).volume_voxel == 120


@pytest.mark.parametrize("tries", [0, 4])
def test_every_free_place_is_found_and_no_other(tries, monkeypatch):
    """Against trying them one by one; without random tries, by the search of all places alone."""
    monkeypatch.setattr("frazil.simulation.specimen.packing._ROUNDS", tries)
    monkeypatch.setattr("frazil.simulation.specimen.packing._TILE_VOXEL", 5)
    slab = Slab((9, 11, 12), thickness_voxel=6.5, tilt_degrees=(8, 10))
    canvas = Canvas(slab, margin_voxel=4)
    solid = numpy_generator(2, "solid").uniform(size=slab.shape_voxel) < 0.12
    canvas.block(solid)
    expected = free_places(HOOK, solid, slab_voxels(slab))
    generator = numpy_generator(0, "places")
    found = {canvas.find_place(HOOK, generator) for _ in range(20 * len(expected))}
    assert 10 < len(expected) < 300
    assert found == expected


def test_none_is_returned_where_a_body_fits_nowhere():
    canvas = Canvas(Slab((9, 11, 13)), margin_voxel=4)
    lattice = np.zeros((9, 11, 13), dtype=bool)
    lattice[::2, ::2, ::2] = True
    canvas.block(lattice)
    cube = lump(*itertools.product((0, 1), repeat=3))
    assert canvas.find_place(cube, numpy_generator(0, "places")) is None
    assert canvas.find_place(DOT, numpy_generator(0, "places")) is not None


def test_the_one_free_place_of_a_full_tomogram_is_found():
    canvas = Canvas(Slab((40, 130, 150)), margin_voxel=4)
    full = np.ones((40, 130, 150), dtype=bool)
    full[tuple((HOOK.offsets + np.array([31, 107, 12])).T)] = False
    canvas.block(full)
    assert canvas.find_place(HOOK, numpy_generator(0, "places")) == (31, 107, 12)


def test_places_are_spread_evenly_over_the_ice():
    slab = Slab((16, 20, 24), thickness_voxel=9, tilt_degrees=(30, 15))
    canvas = Canvas(slab, margin_voxel=4)
    ice = slab_voxels(slab)
    generator = numpy_generator(1, "places")
    counts = np.zeros(ice.shape)
    draws = 3000
    for _ in range(draws):
        counts[canvas.find_place(DOT, generator)] += 1
    assert counts[~ice].sum() == 0
    blocks = [slice(0, 8), slice(8, 16)], [slice(i, i + 5) for i in range(0, 20, 5)], [slice(0, 12), slice(12, 24)]
    share = np.array([[counts[block].sum(), ice[block].sum()] for block in itertools.product(*blocks)])
    expected = draws * share[:, 1] / ice.sum()
    filled = expected > 5
    assert ((share[:, 0] - expected)[filled] ** 2 / expected[filled]).sum() < chi2(filled.sum() - 1).ppf(0.9999)


@pytest.mark.parametrize("shift", [(0.4, 0.4, 0.4), (-0.4, -0.4, -0.4), (0.0, 0.0, 0.0)])
def test_a_center_lies_between_the_outermost_voxels(shift):
    canvas = Canvas(Slab((8, 9, 10)), margin_voxel=4)
    generator = numpy_generator(1, "places")
    body = lump((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 0, -1), (0, -1, 0), shift=shift)
    centers = np.array([canvas.find_place(body, generator) for _ in range(800)]) + shift
    assert (centers[:, 1:] >= 0).all()
    assert (centers[:, 1:] <= (8, 9)).all()
    assert centers[:, 1:].min() < 0.7  # bodies are cut
    assert centers[:, 1].max() > 7.3


def test_bodies_are_put_where_they_are_asked_and_counted():
    canvas = Canvas(Slab((9, 11, 12)), margin_voxel=4)
    canvas.put(HOOK, (3, 5, 6), 1)
    canvas.put(HOOK, (5, 0, 0), 2)  # its last arm is cut off
    assert canvas.overlap(HOOK, (3, 5, 6)) == 6
    assert canvas.overlap(HOOK, (3, 5, 7)) == 2
    assert canvas.overlap(HOOK, (3, 8, 6)) == 0
    assert canvas.filled_voxel == 11
    assert {tuple(v) for v in np.argwhere(canvas.instances == 1).tolist()} == {
        (3, 5, 6), (4, 5, 6), (5, 5, 6), (5, 6, 6), (5, 6, 7), (3, 5, 5)
    }  # fmt: skip
    assert np.count_nonzero(canvas.instances == 2) == 5
    assert canvas.density.sum() == 11


def test_overlapped_matter_is_not_there_twice():
    canvas = Canvas(Slab((9, 9, 9)), margin_voxel=4)
    soft = Body(np.full((7, 7, 7), 0.25, dtype=np.float32), DOT.solid, np.eye(3), np.zeros(3))
    canvas.put(soft, (4, 4, 4), 1)
    canvas.put(soft, (4, 4, 4), 2)
    assert canvas.instances[4, 4, 4] == 1
    assert canvas.density[4, 4, 4] == 0.25  # solid against solid
    assert canvas.density[4, 4, 5] == 0.5  # soft edges add up
    assert canvas.filled_voxel == 1


@pytest.mark.parametrize("label", ["ribosome", "thyroglobulin"])
@pytest.mark.parametrize("voxel_size_angstrom", [10.0, 20.0])
def test_a_drawn_body_holds_the_particle(label, voxel_size_angstrom):
    structure = PARTICLES[label]
    shift = np.array([0.3, -0.45, 0.1])
    body = draw_body(structure, voxel_size_angstrom, np.eye(3), shift)
    assert body.density.shape == (box_edge(structure, voxel_size_angstrom),) * 3
    mass = body.density.astype(float)
    assert mass.sum() * voxel_size_angstrom**3 == pytest.approx(1000 * structure.mass_kda, rel=0.01)
    center = [(np.indices(mass.shape)[axis] * mass).sum() / mass.sum() for axis in range(3)]
    assert center - np.array(body.middle) == pytest.approx(shift, abs=0.02)
    assert len(body.offsets) == body.solid.sum()
    assert mass[body.solid].sum() > 0.6 * mass.sum()
    reach = np.linalg.norm(body.offsets - shift, axis=1).max() * voxel_size_angstrom
    solid = (
        np.linalg.norm(structure.grains[0], axis=1).max() + 1.18 * structure.sigma_angstrom
    )  # half height of a grain
    assert reach <= solid + voxel_size_angstrom


def test_a_body_smaller_than_a_voxel_is_one_voxel():
    body = draw_body(PARTICLES["beta-amylase"], 400.0, np.eye(3), np.zeros(3))
    assert body.offsets.tolist() == [[0, 0, 0]]


def test_a_body_beside_another_touches_it():
    canvas = Canvas(Slab((24, 40, 40), thickness_voxel=20), margin_voxel=4)
    ball = lump(*np.argwhere(np.linalg.norm(np.indices((7, 7, 7)) - 3, axis=0) <= 3) - 3)
    canvas.put(ball, (12, 20, 20), 1)
    distances = []
    for seed in range(20):
        place = canvas.place_beside(ball, (12, 20, 20), np.random.default_rng(seed))
        if place is not None:
            assert canvas.overlap(ball, place) == 0
            distances.append(np.linalg.norm(np.subtract(place, (12, 20, 20))))
    assert len(distances) > 10
    assert max(distances) < 2 * 3 + 2.5  # twice the radius and a voxel's diagonal
    full = Canvas(Slab((8, 8, 8)), margin_voxel=4)
    full.block(np.ones((8, 8, 8), dtype=bool))
    assert full.place_beside(ball, (4, 4, 4), np.random.default_rng(0)) is None
