import os
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import affine_transform

from frazil.core.errors import PickError, SimulationError
from frazil.core.records import Picks, TomogramHeader
from frazil.core.seeds import numpy_generator
from frazil.core.settings import SourceSettings
from frazil.io.like import Likeness
from frazil.io.sources import open_source
from frazil.simulation.specimen.orientations import random_rotation
from frazil.simulation.specimen.packing import Slab, draw_body
from frazil.simulation.specimen.settings import SpecimenSettings
from frazil.simulation.specimen.specimen import PlacedParticles, Specimen, build_specimen
from frazil.simulation.specimen.surroundings import SurroundingsSettings, add_solid_things
from frazil.simulation.structures.built_in import PARTICLES

VOXEL_SIZE_ANGSTROM = 20.0
SHAPE = (32, 48, 48)


def small(**changes) -> SpecimenSettings:
    options = {"shape_voxel": SHAPE, "voxel_size_angstrom": VOXEL_SIZE_ANGSTROM, "particles_per_class": 3}
    alike = [{"label": "virus-like-particle", "size_spread": 0.0}]  # bodies can be drawn anew
    options |= {"structures": alike} | changes
    return SpecimenSettings.model_validate(options)


def build(seed: int = 0, **changes) -> Specimen:
    return build_specimen(small(**changes), numpy_generator(seed, "specimen"))


def counts(specimen: Specimen) -> dict[str, int]:
    return {particles.structure.label: len(particles) for particles in specimen.placed}


def bodies(specimen: Specimen, particles: PlacedParticles):
    """Instance number, and the voxels of the solid body drawn anew from the written center and rotation."""
    for center, rotation, instance in zip(
        particles.centers_angstrom, particles.rotations, particles.instances, strict=True
    ):
        center_voxel = center / specimen.voxel_size_angstrom
        place = np.rint(center_voxel)
        body = draw_body(particles.structure, specimen.voxel_size_angstrom, rotation, center_voxel - place)
        yield int(instance), body.offsets + place.astype(int)


def seen(voxels: np.ndarray, shape) -> np.ndarray:
    return voxels[((voxels >= 0) & (voxels < shape)).all(axis=1)]


@pytest.fixture(scope="module")
def crowded() -> Specimen:
    """30 % of a slab full of a mixture of the six classes."""
    return build(shape_voxel=(32, 88, 88), crowding=0.3, ice_thickness_angstrom=560, ice_tilt_degrees=(2, -3))


def test_bodies_never_overlap(crowded):
    """Every body drawn anew is whole in the mask, and together they are all of it: no voxel is in two."""
    total = 0
    for particles in crowded.placed:
        for instance, voxels in bodies(crowded, particles):
            inside = seen(voxels, crowded.instances.shape)
            assert (crowded.instances[tuple(inside.T)] == instance).all()
            total += len(inside)
    assert total == np.count_nonzero(crowded.instances)
    everywhere = np.concatenate([voxels for particles in crowded.placed for _, voxels in bodies(crowded, particles)])
    assert len(np.unique(everywhere, axis=0)) == len(everywhere)  # also beyond the border


def test_the_asked_share_of_the_ice_is_filled(crowded):
    slab = Slab((32, 88, 88), thickness_voxel=28, tilt_degrees=(2, -3))
    assert np.count_nonzero(crowded.instances) / slab.volume_voxel == pytest.approx(0.3, abs=0.001)
    assert crowded.crowding == pytest.approx(np.count_nonzero(crowded.instances) / slab.volume_voxel)
    numbers = counts(crowded)
    assert min(numbers.values()) > 0.6 * max(numbers.values())  # equal parts were asked for; the rest of one is large


def test_bodies_lie_in_the_tilted_ice(crowded):
    z, y, x = np.argwhere(crowded.instances).T - (np.array([[32], [88], [88]]) - 1) / 2
    rise_y, rise_x = np.tan(np.radians([2, -3]))
    distance = (z - rise_y * y - rise_x * x) / np.sqrt(1 + rise_y**2 + rise_x**2)
    assert np.abs(distance).max() <= 14
    assert np.abs(distance).max() > 13.5  # and use all of it
    assert np.abs(z).max() > 14.5  # the ice is tilted


def test_counts_instances_and_classes():
    specimen = build(particles_per_class="ribosome=2, apo-ferritin=5, thyroglobulin=1")
    assert counts(specimen) == {"apo-ferritin": 5, "ribosome": 2, "thyroglobulin": 1}
    assert list(counts(specimen)) == sorted(counts(specimen))
    assert specimen.instances.dtype == np.uint16
    assert specimen.classes.dtype == np.uint8
    assert sorted(np.concatenate([particles.instances for particles in specimen.placed])) == list(range(1, 9))
    for index, particles in enumerate(specimen.placed):
        np.testing.assert_array_equal(specimen.classes == index + 1, np.isin(specimen.instances, particles.instances))
    assert not specimen.classes[specimen.instances == 0].any()


def test_particles_are_cut_by_the_border():
    specimen = build(shape_voxel=(24, 24, 24), particles_per_class="ribosome=3,apo-ferritin=20")
    voxels = np.concatenate([voxels for particles in specimen.placed for _, voxels in bodies(specimen, particles)])
    assert len(seen(voxels, (24, 24, 24))) < len(voxels)
    assert ((voxels[:, 0] >= 0) & (voxels[:, 0] < 24)).all()
    centers = np.concatenate([particles.centers_angstrom for particles in specimen.placed])
    assert ((centers >= 0) & (centers <= 23 * VOXEL_SIZE_ANGSTROM)).all()


def test_the_density_holds_every_particle_whole_and_in_its_place():
    specimen = build(seed=3, shape_voxel=(48, 56, 56))
    assert specimen.density.dtype == np.float32
    whole = sum(
        p.structure.density(
            (48, 56, 56), VOXEL_SIZE_ANGSTROM, rotation=rotation, center_voxel=center / VOXEL_SIZE_ANGSTROM
        )
        for p in specimen.placed
        for center, rotation in zip(p.centers_angstrom, p.rotations, strict=True)
    )
    np.testing.assert_allclose(specimen.density, whole, atol=1e-3 * whole.max())


@pytest.mark.parametrize("label", ["ribosome", "thyroglobulin", "beta-galactosidase"])
def test_model_mask_center_and_rotation_agree_with_the_density(label):
    """The model's voxels, rotated by interpolation with the written matrix about the written center, are the density."""
    header = TomogramHeader("TS_1", (48, 48, 48), 8.0, "memory")
    likeness = Likeness(header, [picks_at(label, (188.3, 195.1, 181.7))])
    specimen = build_specimen(small(), numpy_generator(4, "like"), like=likeness)
    particles = specimen.placed[0]
    model = particles.structure.density((49, 49, 49), 8.0)
    center = particles.centers_angstrom[0] / 8.0

    def match(rotation: np.ndarray) -> float:
        offset = np.full(3, 24.0) - rotation.T @ center
        turned = affine_transform(model, rotation.T, offset=offset, output_shape=(48, 48, 48), order=3)
        return float(np.corrcoef(turned.ravel(), specimen.density.ravel())[0, 1])

    assert match(particles.rotations[0]) > 0.99
    assert match(particles.rotations[0].T) < 0.95
    weights = specimen.density.astype(float)
    mass_center = [(np.indices(weights.shape)[axis] * weights).sum() / weights.sum() for axis in range(3)]
    assert mass_center == pytest.approx(center, abs=0.03)
    mask = specimen.instances == 1
    assert specimen.density[~mask].max() < 0.3  # a third of protein's 0.81, and of ice
    assert (specimen.density[mask] > 0.25).mean() > 0.9  # all but closed cavities
    assert specimen.density[mask].sum() > 0.8 * specimen.density.sum()


def test_preferred_orientations_follow_the_normal_of_the_ice():
    specimen = build(
        shape_voxel=(40, 48, 48),
        particles_per_class="apo-ferritin=100",
        orientations="preferred",
        orientation_concentration=100,
        ice_thickness_angstrom=300,
        ice_tilt_degrees=(25, 0),
    )
    along = specimen.placed[0].rotations[:, :, 0]  # images of the object's z axis
    normal = np.array([np.cos(np.radians(25)), -np.sin(np.radians(25)), 0])
    assert np.abs(along @ normal).min() > 0.9
    assert 20 < np.count_nonzero(along @ normal > 0) < 80
    assert (np.abs(along[:, 0]) < 0.8).any()  # far from z itself


def test_particles_keep_off_the_surroundings():
    """Gold and vesicles are in the density, and no body is on them; the rest of the ice is what can be crowded."""
    things = {"gold_beads": 3, "vesicles": 1, "vesicle_radius_angstrom": (120, 140)}
    specimen = build(shape_voxel=(32, 40, 40), particles_per_class="apo-ferritin=1", crowding=0.2, surroundings=things)
    stream = numpy_generator(0, "specimen").spawn(1)[0]
    density = np.zeros((32, 40, 40), dtype=np.float32)
    settings = SurroundingsSettings.model_validate(things)
    solid = add_solid_things(density, settings, Slab(density.shape), VOXEL_SIZE_ANGSTROM, stream)
    assert solid is not None
    assert np.count_nonzero(solid) > 100
    assert not specimen.instances[solid].any()
    assert specimen.density[density > 3].min() > 3
    room = np.count_nonzero(~solid)
    assert np.count_nonzero(specimen.instances) / room == pytest.approx(0.2, abs=0.003)
    assert specimen.crowding == pytest.approx(np.count_nonzero(specimen.instances) / room)


@pytest.mark.parametrize("tilt", [(0, 0), (8, -5)])
def test_dissolved_protein_keeps_out_of_bodies_and_in_the_ice(tilt):
    ice = {"ice_thickness_angstrom": 400, "ice_tilt_degrees": tilt, "particles_per_class": "ribosome=2,apo-ferritin=8"}
    dry = build(**ice)
    wet = build(surroundings={"background_protein_mg_per_ml": 150}, **ice)
    np.testing.assert_array_equal(wet.instances, dry.instances)
    bodies = dry.instances > 0
    np.testing.assert_array_equal(wet.density[bodies], dry.density[bodies])
    added = wet.density - dry.density
    assert added.min() >= 0
    assert wet.density.max() <= max(dry.density.max(), 1.0)
    lowest, highest = small(**ice).slab.columns
    z = np.arange(SHAPE[0])[:, None, None]
    assert added[(z < lowest - 3) | (z > highest + 3)].max() < 0.01
    assert added[(z >= lowest) & (z <= highest) & ~bodies].mean() == pytest.approx(150 * 6.022e-4, rel=0.15)


def test_a_pick_on_the_surroundings_keeps_its_mask():
    picks = [picks_at("ribosome", (300, 400, 500))]
    alone, on_carbon = like(picks), like(picks, surroundings={"carbon_edge": True, "carbon_thickness_angstrom": 600})
    assert np.count_nonzero(on_carbon.instances) == np.count_nonzero(alone.instances)
    assert on_carbon.density.mean() > 5 * alone.density.mean()


DISTRACTOR = ({"label": "apo-ferritin", "distractor": True},)


def test_distractors_are_in_the_ice_but_in_no_mask():
    specimen = build(particles_per_class="ribosome=2,apo-ferritin=30", structures=DISTRACTOR)
    assert counts(specimen) == {"ribosome": 2}
    (distractors,) = specimen.distractors
    assert len(distractors) == 30
    assert not distractors.instances.any()
    assert set(np.unique(specimen.instances)) == {0, 1, 2}
    for _, voxels in bodies(specimen, distractors):
        inside = tuple(seen(voxels, SHAPE).T)
        assert not specimen.instances[inside].any()
        assert specimen.density[inside].mean() > 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"particles_per_class": 400},
            r"particles: 2400 would fill \d+% of the ice, and at most about 35 % can .*; ask for fewer particles, a larger shape",
        ),
        (
            {"particles_per_class": "ribosome=7", "shape_voxel": (20, 24, 24)},
            r"ribosome: room for \d+ of 7 in ice of 400,480,480 A \(z,y,x\), which is then [\d.]+% full; ask for fewer",
        ),
        (
            {"particles_per_class": "ribosome=1", "ice_thickness_angstrom": 120.0, "crowding": 0.2},
            r"ribosome: room for 0 of \d+ in ice of 120,960,960 A .* then 0.0% full; ask for less crowding, a larger",
        ),
    ],
)
def test_what_cannot_be_packed_says_so(changes, message):
    with pytest.raises(SimulationError, match=message):
        build(**changes)


HEADER = TomogramHeader("TS_1", (30, 50, 60), 20.0, "memory")


def picks_at(label: str, *centers, rotations=None) -> Picks:
    return Picks("TS_1", label, np.array(centers, dtype=float), rotations)


def like(picks, seed: int = 0, **changes) -> Specimen:
    return build_specimen(small(**changes), numpy_generator(seed, "like"), like=Likeness(HEADER, picks))


def test_like_existing_picks():
    """Same classes, same places, the known rotations; shape and voxel size of the tomogram; distractors around them."""
    rotations = np.array([random_rotation(numpy_generator(i, "known")) for i in range(2)])
    picks = [
        picks_at("ribosome", (300, 200, 300), (301.5, 610, 842), rotations=rotations),
        picks_at("beta-amylase", (100, 985, 0.0), (575, 3, 1180)),
    ]
    specimen = like(picks, particles_per_class="apo-ferritin=40,thyroglobulin=5", structures=DISTRACTOR)
    assert specimen.density.shape == specimen.instances.shape == (30, 50, 60)
    assert counts(specimen) == {"beta-amylase": 2, "ribosome": 2}  # thyroglobulin is not a distractor
    for some, particles in zip(sorted(picks, key=lambda p: p.label), specimen.placed, strict=True):
        np.testing.assert_allclose(particles.centers_angstrom, some.centers_angstrom, atol=1e-9)
    np.testing.assert_array_equal(specimen.placed[1].rotations, rotations)
    assert not np.isclose(*specimen.placed[0].rotations).all()
    assert [len(particles) for particles in specimen.distractors] == [40]
    for _, voxels in bodies(specimen, specimen.distractors[0]):
        assert not specimen.instances[tuple(seen(voxels, (30, 50, 60)).T)].any()


def test_like_close_picks_takes_the_rotations_that_overlap_least(monkeypatch):
    long = [picks_at("thyroglobulin", (300, 400, 500), (300, 400, 640))]  # 140 A apart, 240 A long

    def lost(tries: int) -> int:
        monkeypatch.setattr("frazil.simulation.specimen.specimen._LIKE_ROTATIONS", tries)
        total = 0
        for seed in range(12):
            specimen = like(long, seed=seed)
            drawn = sum(len(voxels) for _, voxels in bodies(specimen, specimen.placed[0]))
            total += drawn - np.count_nonzero(specimen.instances)
        return total

    assert lost(8) < 0.3 * lost(1)


def test_like_picks_where_the_same_place_is_picked_twice():
    place = (300.0, 400.0, 500.0)
    specimen = like([picks_at("ribosome", place, place, rotations=np.eye(3)[None].repeat(2, 0))])
    once = like([picks_at("ribosome", place, rotations=np.eye(3)[None])])
    np.testing.assert_array_equal(specimen.instances, once.instances)
    assert specimen.density.max() == pytest.approx(once.density.max(), rel=0.01)  # matter is not there twice


def test_classes_have_the_same_numbers_in_runs_that_lack_some():
    structures = {label: PARTICLES[label] for label in ("ribosome", "apo-ferritin", "thyroglobulin")}
    likeness = Likeness(HEADER, [picks_at("thyroglobulin", (300, 400, 500))])
    specimen = build_specimen(small(), numpy_generator(0, "like"), like=likeness, structures=structures)
    assert counts(specimen) == {"apo-ferritin": 0, "ribosome": 0, "thyroglobulin": 1}
    assert set(np.unique(specimen.classes)) == {0, 3}
    assert specimen.placed[0].centers_angstrom.shape == (0, 3)
    assert specimen.placed[0].rotations.shape == (0, 3, 3)


def test_like_fills_up_to_a_crowding_with_distractors():
    specimen = like(
        [picks_at("ribosome", (300, 400, 500))],
        particles_per_class="apo-ferritin=1",
        structures=DISTRACTOR,
        crowding=0.15,
    )
    assert specimen.crowding == pytest.approx(0.15, abs=0.002)


@pytest.mark.parametrize(
    ("picks", "message"),
    [
        (
            picks_at("ribosome", (300, 400, 500), (300, 990.1, 10)),
            "ribosome: 1 of 2 picks of TS_1 lie outside its tomo",
        ),
        (picks_at("ribosome", (np.nan, 400, 500)), "1 of 1 picks of TS_1 lie outside .* of 30,50,60 voxels; check its"),
    ],
)
def test_picks_outside_the_tomogram_are_refused(picks, message):
    with pytest.raises(PickError, match=message):
        like([picks])


def test_picks_of_an_unknown_class_are_refused():
    stranger = picks_at("no-such", (300, 400, 500))
    with pytest.raises(SimulationError, match=r"no-such: no such structure; choose from apo-ferritin, .*, or give"):
        like([stranger])


@pytest.mark.real
def test_like_real_picks():
    folder = os.environ.get("FRAZIL_REAL_DATA")
    if not folder:
        pytest.skip("FRAZIL_REAL_DATA is not set")
    source = open_source(Path(folder), SourceSettings(level=1))
    picks = [some for some in source.picks() if some.run == "TS_69_2"]
    specimen = build_specimen(small(), numpy_generator(0, "like"), like=Likeness(source.header("TS_69_2"), picks))
    assert counts(specimen) == {some.label: len(some) for some in picks}
    sizes = np.bincount(specimen.instances.ravel())[1:]
    assert len(sizes) == sum(map(len, picks))
    for particles in specimen.placed:
        own = sizes[particles.instances - 1]
        assert np.mean(own > 0.9 * np.median(own)) > 0.9  # real bodies do not overlap, so ours hardly do


def test_sizes_differ_by_their_spread():
    """Along each of its own axes, a particle's extent is that of the structure times 1 + spread x N(0, 1)."""
    shells = [{"label": "virus-like-particle", "size_spread": 0.05}]
    specimen = build(particles_per_class={"virus-like-particle": 10}, shape_voxel=(64, 96, 96), structures=shells)
    (particles,) = specimen.placed
    voxel, extents = specimen.voxel_size_angstrom, []
    for center, rotation, instance in zip(
        particles.centers_angstrom, particles.rotations, particles.instances, strict=True
    ):
        own = (np.argwhere(specimen.instances == instance) * voxel - center) @ rotation
        extents.append(own.std(axis=0))
    whole = np.array(extents)[[len(own) == 3 for own in extents]]
    spread = (whole / whole.mean()).std()
    assert 0.02 < spread < 0.1


def test_debris_is_in_the_ice_but_in_no_picks_and_masks():
    """Broken particles and aggregates add density in free ice, and leave everything else as it is."""
    clean, dirty = build(), build(surroundings={"broken_particles": 8, "aggregates": 2})
    assert np.array_equal(clean.instances, dirty.instances)
    assert counts(clean) == counts(dirty)
    for before, after in zip(clean.placed, dirty.placed, strict=True):
        assert np.array_equal(before.centers_angstrom, after.centers_angstrom)
    added = dirty.density - clean.density
    assert added.min() > -1e-6
    dense = added > 0.3
    assert dense.sum() > 100
    assert not (dense & (clean.instances > 0)).any()


def test_debris_needs_particles_to_come_from():
    rare = {"particles_per_class": None, "concentrations": {"ribosome": 1e-9}}
    assert not build(**rare, surroundings={"broken_particles": 3}).density.any()


def test_frost_lies_on_the_ice_and_not_in_it():
    thin = {"shape_voxel": (48, 48, 48), "ice_thickness_angstrom": 400}
    clean, frosty = build(**thin), build(**thin, surroundings={"ice_crystals": 6})
    added = frosty.density - clean.density
    lowest, highest = Slab((48, 48, 48), thickness_voxel=20).faces_voxel
    z = np.flatnonzero(added.any(axis=(1, 2)))
    assert len(z)
    assert not ((z >= lowest) & (z <= highest)).any()
