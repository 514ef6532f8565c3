"""Boxes of a network that is told a layout: every particle that was painted is written down, and nothing else."""

import json

import copick
import numpy as np
import pytest

from frazil.core.errors import BundleError, PickError, RequestError
from frazil.core.files import write_json
from frazil.core.presets import load_preset
from frazil.core.settings import SourceSettings
from frazil.io.sources import open_source
from frazil.sampling.arrange import arrange, read_neighbours
from frazil.sampling.generator import ParticleGenerator
from frazil.sampling.run import sample
from frazil.volume.arrangement import LayoutStatistics

STATISTICS = LayoutStatistics(
    shape_voxel=(64, 200, 200),
    voxel_size_angstrom=10.0,
    number_per_um3={"apo-ferritin": (40_000.0, 0.0), "ribosome": (10_000.0, 0.0)},
    heights=tuple(np.linspace(0.25, 0.75, 41)),
    distance_angstrom=((None, None), (None, None)),
)


@pytest.fixture
def bundle(make_bundle):
    small = {"model.layout_channels": 4, "model.layout_template_voxel": 9, "model.embedding_width": 8}
    preset = load_preset("smoke", {**small, "diffusion.timesteps": 6, "sampling.steps": 2})
    radii = {"apo-ferritin": 60.0, "ribosome": 120.0}
    return make_bundle(name="layouts", preset=preset, radius_angstrom=radii, layouts=STATISTICS)


@pytest.fixture
def generator(bundle):
    return ParticleGenerator.from_bundle(bundle)


def test_neighbors_are_as_many_as_in_the_tomograms_and_none_overlaps_the_particle(generator):
    options = {"card": generator.card, "box_size_voxel": 32, "neighbours": "typical"}
    layouts = [arrange("ribosome", **options, random=np.random.default_rng(seed)) for seed in range(200)]
    # in half of the height of a tomogram they are twice as dense; 12 voxels and 24 around the center are not free
    inside = [((some.center_voxel[1:] > -0.5) & (some.center_voxel[1:] < 31.5)).all(axis=1).sum() for some in layouts]
    free = {0: 32**3 - 4 / 3 * np.pi * 18**3, 1: 32**3 - 4 / 3 * np.pi * 24**3 * 0.4}
    assert np.mean(inside) == pytest.approx(2 * (0.04 * free[0] + 0.01 * free[1]) / 1000, rel=0.35)
    for some in layouts:
        assert some.label[0] == 1
        assert (some.center_voxel[0] == 16).all()
        apart = np.linalg.norm(some.center_voxel[1:] - 16, axis=1)
        assert (apart >= np.array([179, 239])[some.label[1:]] / 10).all()
        np.testing.assert_allclose(np.linalg.det(some.rotation), 1)


def test_the_height_guides_where_a_box_reaches_beyond_the_particles(make_layout_bundle):
    plain, guided = (
        ParticleGenerator.from_bundle(make_layout_bundle(name=f"by {scale}", height_guidance=scale, layouts=STATISTICS))
        for scale in (1, 4)
    )

    def differ(height):
        one, other = (some.sample(label="ribosome", position=(height, 0.5, 0.5), steps=2) for some in (plain, guided))
        return (one.volumes != other.volumes).any()

    assert not differ(0.5)
    assert differ(0.9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("layouts", "heights", [0.0, 1.0]), "heights"),
        (("layouts", "number_per_um3", {"ribosome": [1.0, 0.0]}), "not 1 x 1"),
        (("layouts", "number_per_um3", {"blob": [1.0, 0.0], "ribosome": [1.0, 0.0]}), "other classes"),
        (("layouts", "number_per_um3", {"apo-ferritin": [1e300, 0.0], "ribosome": [1.0, 0.0]}), "number_per_um3"),
        (("radius_angstrom", "ribosome", 1e300), "radius_angstrom"),
        (("voxel_size_angstrom", None), "radius of every class"),
        (("moments", [1e300, 1.0]), "gray values"),
    ],
)
def test_a_forged_card_is_refused(bundle, change, said):
    *path, name, value = change
    card = json.loads((bundle / "bundle.json").read_text())
    part = card
    for key in path:
        part = part[key]
    part[name] = value
    write_json(bundle / "bundle.json", card)
    with pytest.raises(BundleError, match=said):
        ParticleGenerator.from_bundle(bundle)


def test_more_particles_than_can_be_are_refused(generator):
    numbers = {"apo-ferritin": (1e9, 0.0), "ribosome": (1e9, 0.0)}
    many = generator.card.model_copy(update={"layouts": STATISTICS.model_copy(update={"number_per_um3": numbers})})
    with pytest.raises(PickError, match="at most 65535"):
        arrange("ribosome", card=many, box_size_voxel=32, neighbours="typical", random=np.random.default_rng(0))


def test_a_layout_belongs_to_its_sample(generator):
    three = generator.sample(label="ribosome", count=3, neighbours="typical")
    later = generator.sample(label="ribosome", first=2, neighbours="typical")
    np.testing.assert_array_equal(three.layouts[2].center_voxel, later.layouts[0].center_voxel)
    np.testing.assert_array_equal(three.volumes[2], later.volumes[0])
    assert not np.array_equal(three.layouts[0].rotation, three.layouts[1].rotation)


def test_all_particles_in_a_box_are_picks_with_orientations(bundle, tmp_path):
    folder = sample(bundle, out=tmp_path / "out", label="apo-ferritin", count=2, neighbours="typical")
    picks = open_source(tmp_path / "out", SourceSettings()).picks()
    for entry in folder.manifest.samples:
        told = {
            (particle.label, *np.round(particle.centre_voxel, 2))
            for particle in entry.particles
            if all(-0.5 <= at < 7.5 for at in particle.centre_voxel)
        }
        read = {
            (some.label, *np.round(center / folder.manifest.voxel_size_angstrom, 2))
            for some in picks
            if some.run == entry.name
            for center in some.centers_angstrom
        }
        assert read == told
        mine = next(some for some in picks if (some.run, some.label) == (entry.name, "apo-ferritin"))
        np.testing.assert_allclose(mine.rotations[0].ravel(), entry.particles[0].rotation, atol=1e-6)


def test_masks_say_what_each_voxel_belongs_to(bundle, tmp_path):
    sample(bundle, out=tmp_path / "out", label="apo-ferritin", count=1)
    project = copick.from_file(str(tmp_path / "out" / "copick.json"))
    (run,) = project.runs
    classes, instances = (run.get_segmentations(name=name)[0].numpy() for name in ("classes", "instances"))
    ball = np.linalg.norm(np.indices((8, 8, 8)) - 4, axis=0) < 6  # for want of a template
    assert np.array_equal(classes, ball * project.get_object("apo-ferritin").label)
    assert np.array_equal(instances, ball)
    assert [point.instance_id for point in run.get_picks(object_name="apo-ferritin")[0].points] == [1]


def test_neighbors_need_a_bundle_with_layouts(make_bundle, refuses):
    plain = ParticleGenerator.from_bundle(make_bundle(name="plain"))
    with refuses(RequestError, "neighbours typical", "frazil curate --whole"):
        plain.sample(label="ribosome", neighbours="typical")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "around.csv"
    path.write_text(
        "experiment,particle_type,x,y,z\nfirst,ribosome,140.0,0,-20\nsecond,apo-ferritin,0,-60,0\nsecond,ribosome,0,100,30\n"
    )
    return path


def test_neighbors_are_those_of_a_table_one_box_after_another(bundle, table, tmp_path):
    folder = sample(bundle, out=tmp_path / "out", label="apo-ferritin", count=3, neighbours=table)
    voxel, middle = folder.manifest.voxel_size_angstrom, 4
    told = []
    for entry in folder.manifest.samples:
        turn = np.reshape(entry.particles[0].rotation, (3, 3))  # neighbors turn with the particle
        places = [(one.label, (np.array(one.centre_voxel) - middle) * voxel @ turn) for one in entry.particles]
        told.append({(label, *np.round(place, 3) + 0.0) for label, place in places})
    first = {("apo-ferritin", 0, 0, 0), ("ribosome", -20, 0, 140)}
    second = {("apo-ferritin", 0, 0, 0), ("apo-ferritin", 0, -60, 0), ("ribosome", 30, 100, 0)}
    assert told == [first, second, first]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,ribosome,0,0,60", "around.csv: a, around apo-ferritin: 1 pairs of particles overlap.* x,y,z 0,0,60 A"),
        ("a,ribosome,0,0,1000", "outside"),
        ("a,blob,0,0,200", "blob"),
    ],
)
def test_neighbors_that_cannot_be_are_refused(generator, table, row, said):
    table.write_text(f"experiment,particle_type,x,y,z\n{row}\n")
    with pytest.raises(PickError, match=said):
        generator.sample(label="apo-ferritin", neighbours=str(table))


def test_neighbors_of_no_file_are_refused(generator):
    with pytest.raises(RequestError, match="neither none nor typical"):
        generator.sample(label="apo-ferritin", neighbours="many")


def test_neighbors_of_a_star_file_are_in_the_pixels_that_it_names(generator, tmp_path):
    path = tmp_path / "around.star"
    columns = ("TomoName", "CoordinateX", "CoordinateY", "CoordinateZ", "ImagePixelSize")
    names = "\n".join(f"_rln{name} #{number}" for number, name in enumerate(columns, start=1))
    path.write_text(f"data_particles\n\nloop_\n{names}\nbox 28 0 0 5.0\n")
    picks = read_neighbours(path.rename(tmp_path / "ribosome.star"), generator.card, ["apo-ferritin"])
    assert picks[0][0].offset_angstrom == pytest.approx((0, 0, 140))
