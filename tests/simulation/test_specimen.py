import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from frazil.errors import SimulationError
from frazil.seeds import numpy_generator
from frazil.simulation.specimen import PlacedParticles, SpecimenSettings, place_particles, specimen_density
from frazil.simulation.structures import PARTICLES


def small(**changes) -> SpecimenSettings:
    options = {"shape_voxel": (32, 48, 48), "voxel_size_angstrom": 20.0, "particles_per_class": 3} | changes
    return SpecimenSettings.model_validate(options)


def spheres(placed: list[PlacedParticles]) -> tuple[np.ndarray, np.ndarray]:
    centers = np.concatenate([particles.centers_angstrom for particles in placed])
    radii = np.concatenate([np.full(len(p.centers_angstrom), p.model.solid_radius_angstrom) for p in placed])
    return centers, radii


@given(seed=st.integers(0, 2**31), thickness=st.sampled_from([None, 560.0, 640.0]))
def test_bodies_lie_in_the_ice_and_do_not_overlap(seed, thickness):
    settings = small(ice_thickness_angstrom=thickness)
    placed = place_particles(settings, numpy_generator(seed, "tomogram", 0))
    assert {p.model.label: len(p.centers_angstrom) for p in placed} == dict.fromkeys(PARTICLES, 3)
    centers, radii = spheres(placed)
    margin = (640 - (thickness or 640)) / 2
    lowest = np.array([margin, 0, 0]) - 10  # the border of a voxel lies half a voxel before its centre
    highest = np.array([640 - margin, 960, 960]) - 10
    assert (centers - radii[:, None] >= lowest - 1e-9).all()
    assert (centers + radii[:, None] <= highest + 1e-9).all()
    apart = np.linalg.norm(centers[:, None] - centers[None], axis=-1) - (radii[:, None] + radii[None])
    assert apart[~np.eye(len(radii), dtype=bool)].min() >= 0


def test_counts_by_class():
    settings = small(particles_per_class="ribosome=2, apo-ferritin=5")
    placed = place_particles(settings, numpy_generator(0, "tomogram", 0))
    assert [(p.model.label, len(p.centers_angstrom)) for p in placed] == [("apo-ferritin", 5), ("ribosome", 2)]


def test_text_reads_like_values():
    assert small(shape_voxel="32, 48,48", particles_per_class="3") == small()


def test_the_same_generator_gives_the_same_specimen_and_another_one_does_not():
    first, again, other = (place_particles(small(), numpy_generator(7, "tomogram", i)) for i in (0, 0, 1))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a.centers_angstrom, b.centers_angstrom)
        np.testing.assert_array_equal(a.rotations, b.rotations)
        assert not np.isclose(a.rotations, c.rotations).any(axis=(1, 2)).all()


def test_orientations_are_uniform_rotations():
    settings = small(shape_voxel=(64, 100, 100), particles_per_class="apo-ferritin=900")
    (placed,) = place_particles(settings, numpy_generator(0, "tomogram", 0))
    rotations = placed.rotations
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3)[None].repeat(900, 0), atol=1e-9)
    assert np.linalg.det(rotations) == pytest.approx(1.0)
    # Haar measure: every entry has mean 0 and mean square 1/3, and the trace has mean 0 and mean square 1.
    assert np.abs(rotations.mean(axis=0)).max() < 4 * (1 / 3 / 900) ** 0.5
    assert np.abs((rotations**2).mean(axis=0) - 1 / 3).max() < 0.05
    assert (np.trace(rotations, axis1=1, axis2=2) ** 2).mean() == pytest.approx(1.0, abs=0.2)


def test_the_density_holds_every_particle_whole_and_in_its_place():
    settings = small(shape_voxel=(48, 56, 56))
    placed = place_particles(settings, numpy_generator(3, "tomogram", 0))
    density = specimen_density(placed, settings.shape_voxel, 20.0)
    assert density.dtype == np.float32
    whole = sum(
        p.model.density(settings.shape_voxel, 20.0, rotation=rotation, center_voxel=center / 20.0)
        for p in placed
        for center, rotation in zip(p.centers_angstrom, p.rotations, strict=True)
    )
    np.testing.assert_allclose(density, whole, atol=2e-4 * whole.max())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"particles_per_class": 400},
            r"ribosome: room for \d+ of 400 in ice of 640,960,960 A .*; ask for fewer particles",
        ),
        ({"ice_thickness_angstrom": 200.0}, "ribosome: room for 0 of 3 in ice of 200,960,960 A .*larger shape"),
    ],
)
def test_what_cannot_be_packed_says_so(changes, message):
    with pytest.raises(SimulationError, match=message):
        place_particles(small(**changes), numpy_generator(0, "tomogram", 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"voxel_size_angstrom": 0.0}, "voxel size 0 A: not above 0; give"),
        ({"voxel_size_angstrom": 61.0}, "voxel size 61 A: coarser than apo-ferritin, .* 60 A; use a finer voxel"),
        ({"particles_per_class": "proteasome=3"}, "proteasome: no such particle; choose from apo-ferritin"),
        ({"particles_per_class": "ribosome=0"}, "ribosome: 0 particles; ask for at least 1"),
        ({"particles_per_class": "ribosome=1,ribosome=2"}, "ribosome named twice; name each particle once"),
        ({"particles_per_class": {}}, "none named; name at least one"),
        ({"shape_voxel": (4, 48, 48)}, "shape 4,48,48: an edge is too short; make every edge at least 8"),
        ({"ice_thickness_angstrom": 700.0}, "ice 700 A thick in a tomogram of 640 A; make it"),
        ({"ice_thickness_angstrom": -1.0}, "ice -1 A thick in a tomogram of 640 A; make it"),
    ],
)
def test_what_cannot_be_a_specimen_is_refused(changes, message):
    with pytest.raises(SimulationError, match=message):
        small(**changes)


def test_a_coarse_voxel_is_fine_where_only_large_particles_are_drawn():
    assert small(voxel_size_angstrom=100.0, particles_per_class="ribosome=1").voxel_size_angstrom == 100.0


@pytest.mark.parametrize("changes", [{"shape_voxel": "32,48"}, {"particles_per_class": "many"}, {"voxel_size": 3}])
def test_what_is_no_setting_is_refused(changes):
    with pytest.raises(ValidationError):
        small(**changes)
