import numpy as np
import pytest

from frazil.evaluation.metrics.profiles import (
    STEP_VOXEL,
    contrast_at_ring,
    correlation,
    find_ring,
    local_contrasts,
    particle_radius_voxel,
    polar_image,
    radii_voxel,
    ring_depths,
    ring_radii,
    ring_spreads,
)
from frazil.volume.spheres import sphere_profile

EDGE = 48


def distance(stretch=(1, 1, 1), edge=EDGE) -> np.ndarray:
    """Distance from voxel D/2, the center of a box; `stretch` flattens along zyx."""
    axes = (np.indices((edge, edge, edge)) - edge // 2) * np.reshape(stretch, (3, 1, 1, 1))
    return np.sqrt(np.square(axes).sum(axis=0))


def shell(radius=8.0, depth=3.0, width=1.2, **how) -> np.ndarray:
    """A dark shell with a Gaussian wall."""
    return -depth * np.exp(-np.square(distance(**how) - radius) / (2 * width**2))


def ball(radius=8.0, depth=3.0) -> np.ndarray:
    return -depth / (1 + np.exp(2 * (distance() - radius)))


def profile(volume) -> np.ndarray:
    return polar_image(volume).mean(axis=0)


@pytest.mark.parametrize("radius", [4.0, 6.3, 11.5, 15.0])
def test_the_radius_of_a_shell_is_found_within_half_a_voxel(radius):
    ring = find_ring(profile(shell(radius)))
    assert ring.hollow
    assert ring.radius_voxel == pytest.approx(radius, abs=0.25)
    assert ring_radii(profile(shell(radius))[None], ring)[0] == pytest.approx(radius, abs=0.25)


@pytest.mark.parametrize("depth", [1.0, 3.0])
def test_the_depth_is_that_of_the_wall_against_the_centre(depth):
    volume = shell(10.0, depth) - 0.2 * (distance() < 7)  # the inside is a little darker than the outside
    ring = find_ring(profile(volume))
    assert ring.depth == pytest.approx(depth - 0.2, rel=0.08)
    assert ring_depths(profile(volume)[None], ring)[0] == pytest.approx(ring.depth)
    # the mean of one voxel to either side of the darkest place is a little less
    single = contrast_at_ring(profile(volume)[None], ring)[0]
    assert 0.7 * ring.depth < single < ring.depth


def test_noise_does_not_hide_the_ring_of_a_mean():
    random = np.random.default_rng(0)
    mean = np.mean([shell(8.4) + 2 * random.standard_normal((EDGE,) * 3) for _ in range(10)], axis=0)
    ring = find_ring(profile(mean))
    assert ring.hollow
    assert ring.radius_voxel == pytest.approx(8.4, abs=0.5)
    assert ring_spreads(polar_image(mean)[None], ring)[0] < 0.6


def test_a_full_particle_has_no_ring():
    expected = find_ring(profile(shell(8)))
    full = profile(ball())[None]
    assert not find_ring(full[0]).hollow
    assert ring_depths(full, expected)[0] <= 0
    assert np.isnan(ring_radii(full, expected)[0])
    assert np.isnan(ring_spreads(polar_image(ball())[None], expected)[0])
    assert contrast_at_ring(full, expected)[0] < 0


def test_nothing_dark_and_a_slope_to_the_edge_are_no_rings():
    assert not find_ring(profile(-shell(8))).hollow
    assert not find_ring(-radii_voxel(EDGE)).hollow


def test_a_ring_of_another_size_is_measured_at_its_own_radius():
    expected = find_ring(profile(shell(8)))
    found = ring_radii(np.stack([profile(shell(radius)) for radius in (6.0, 8.0, 10.5)]), expected)
    np.testing.assert_allclose(found, [6, 8, 10.5], atol=0.25)


def test_an_ellipse_spreads_as_its_axes_say_and_a_circle_does_not():
    expected = find_ring(profile(shell(8)))
    circle = polar_image(shell(8))[None]
    # half axes of 8 / 0.9 and 8 / 1.1 in XY; stretching along z does not matter
    ellipse = polar_image(shell(8, stretch=(0.5, 0.9, 1.1)))[None]
    angles = 2 * np.pi * np.arange(360) / 360
    radius = 8 / np.hypot(0.9 * np.sin(angles), 1.1 * np.cos(angles))
    assert ring_spreads(circle, expected)[0] < 0.1
    assert ring_spreads(ellipse, expected)[0] == pytest.approx(radius.std(), rel=0.15)


def test_polar_images_have_azimuth_from_x_towards_y():
    _, y, x = np.indices((32, 32, 32)) - 16
    image = polar_image((np.arctan2(y, x) % (2 * np.pi) < np.pi / 2).astype(float))
    assert image.shape == (12, len(radii_voxel(32)))
    far = radii_voxel(32) > 6
    assert image[0][far].min() > 0.9  # sector of 0 to 30 degrees
    assert image[4:8][:, far].max() < 0.1  # 120 to 240 degrees


def test_spherical_profiles_are_means_over_shells():
    rows = sphere_profile(distance(edge=32))
    assert rows.shape == (16,)
    # the first shell has 6 voxels at a distance of 1 and 12 at a distance of the root of 2
    np.testing.assert_allclose(rows[:2], [0, (6 + 12 * np.sqrt(2)) / 18])
    np.testing.assert_allclose(rows[3:], np.arange(3, 16), atol=0.15)


def test_the_particle_ends_where_it_has_half_of_its_darkest_value():
    assert particle_radius_voxel(sphere_profile(ball(8))) == pytest.approx(8, abs=0.3)
    # for a shell, on its outer side: half of a Gaussian wall is 1.177 widths out
    assert particle_radius_voxel(sphere_profile(shell(10, width=1.5))) == pytest.approx(10 + 1.177 * 1.5, abs=0.3)
    assert particle_radius_voxel(np.ones(16)) is None
    assert particle_radius_voxel(np.array([-1.0, -1, -1])) == 2


def test_contrast_is_particle_against_surroundings():
    rows = np.stack([sphere_profile(np.where(distance() < 8, 0.5 - depth, 0.5)) for depth in (0, 1, 2.5)])
    np.testing.assert_allclose(local_contrasts(rows, 7.0), [0, 1, 2.5], atol=1e-6)
    # a particle as large as the box has two voxels around it at least
    assert np.isfinite(local_contrasts(rows, 23.0)).all()
    # linear: the contrast of a mean is the mean of the contrasts
    assert local_contrasts(rows.mean(axis=0)[None], 9)[0] == pytest.approx(local_contrasts(rows, 9).mean())


def test_correlation_is_that_of_numpy_and_undefined_for_constants():
    random = np.random.default_rng(0)
    rows, reference = random.standard_normal((3, 20)).astype(np.float32), random.standard_normal(20)
    np.testing.assert_allclose(
        correlation(rows, reference), [np.corrcoef(row, reference)[0, 1] for row in rows], rtol=1e-5
    )
    assert correlation(2 * reference[None] + 1, reference)[0] == pytest.approx(1)
    assert np.isnan(correlation(np.ones((1, 20)), reference)[0])


def test_radii_go_in_half_voxels_to_the_last_complete_circle():
    radii = radii_voxel(32)
    assert (radii[0], radii[-1], radii[1]) == (0, 15, STEP_VOXEL)
