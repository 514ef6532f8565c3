import math
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from frazil.core.errors import SimulationError
from frazil.io.mrc import write_volume
from frazil.simulation.structures import density_map
from frazil.simulation.structures.density_map import MapModel, clean_map
from frazil.simulation.structures.structure import StructureSettings


def read_map(path: Path, **settings) -> MapModel:
    return density_map.read_map(path, StructureSettings(**settings))


# Three Gaussians, so that every rotation shows: places (zyx, angstrom), sigma, mass.
PLACES = np.array([[0.0, 0.0, 0.0], [60.0, 0.0, 10.0], [0.0, -45.0, 40.0]])
SIGMAS = np.array([22.0, 15.0, 18.0])
MASSES = np.array([5.0, 1.0, 2.0])
CENTER = np.average(PLACES, axis=0, weights=MASSES)


def gaussians(shape, voxel_size_angstrom, center_voxel, rotation=None, sigmas=SIGMAS) -> np.ndarray:
    """The closed form: mass density, kDa per cubic angstrom, of the three about their center of mass."""
    grid = np.indices(shape).reshape(3, -1).T
    places = (PLACES - CENTER) @ (np.eye(3) if rotation is None else rotation).T
    density = np.zeros(len(grid))
    for place, sigma, mass in zip(places, sigmas, MASSES, strict=True):
        offset = (grid - center_voxel) * voxel_size_angstrom - place
        density += mass * np.exp(-0.5 * (offset**2).sum(axis=1) / sigma**2) / (2 * math.pi * sigma**2) ** 1.5
    return density.reshape(shape)


@pytest.fixture(scope="module")
def blob() -> MapModel:
    """The three Gaussians on a grid of 6 A, away from its middle."""
    return MapModel("blob", gaussians((60, 64, 58), 6.0, (28.3, 31.7, 27.2)).astype(np.float32), 6.0, 8.0)


@pytest.mark.parametrize("voxel_size_angstrom", [5.0, 6.0, 10.0, 14.0])
@pytest.mark.parametrize("turned", [False, True])
def test_a_map_is_placed_and_turned_as_its_closed_form(blob, voxel_size_angstrom, turned):
    rotation = Rotation.from_rotvec([0.4, -1.1, 2.0]).as_matrix() if turned else None
    edge = 2 * math.ceil(180 / voxel_size_angstrom)
    center = edge / 2 + np.array([0.3, -0.2, 0.45])
    drawn = blob.density((edge, edge, edge), voxel_size_angstrom, rotation=rotation, center_voxel=center)
    truth = 1000 * gaussians(drawn.shape, voxel_size_angstrom, center, rotation)
    assert drawn.dtype == np.float32
    assert np.abs(drawn - truth).max() < 0.02 * truth.max()
    assert drawn.sum() * voxel_size_angstrom**3 == pytest.approx(8000, rel=0.02)


def test_what_a_coarse_grid_cannot_hold_is_removed_and_not_folded_back():
    """A comb of planes 7 A apart is finer than voxels of 10 A can show: it must fade to its mean, not to another comb."""
    z = np.arange(120) * 1.4
    comb = np.zeros((120, 60, 60), dtype=np.float32)
    comb[30:90, 15:45, 15:45] = (1 + np.cos(2 * np.pi * z[30:90] / 7.0))[:, None, None]
    density = MapModel("comb", comb, 1.4, 100).density((15, 15, 15), 10.0)
    inner = density[5:10, 7, 7]
    assert np.ptp(inner) < 0.12 * inner.mean()


def test_solid_and_support_radius_hold_the_particle(blob):
    density = blob.density((61, 61, 61), 7.0)
    radius = 7.0 * np.linalg.norm(np.indices(density.shape) - 30, axis=0)
    assert np.abs(density[radius > blob.support_radius_angstrom]).sum() < 1e-3 * density.sum()
    assert density[radius > blob.solid_radius_angstrom + 7].max() < 0.4 * density.max()
    assert blob.radius_angstrom == blob.solid_radius_angstrom
    assert MapModel("blob", blob.volume, 6.0, 8.0, 75.0).radius_angstrom == 75.0


def ball(radius_voxel: float, edge: int = 32, level: float = 1.0) -> np.ndarray:
    radius = np.linalg.norm(np.indices((edge, edge, edge)) - (edge - 1) / 2, axis=0)
    return (level * np.clip(radius_voxel + 0.5 - radius, 0, 1)).astype(np.float32)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("contrast", ["auto", "told"])
def test_contrast_background_and_noise_are_taken_away(tmp_path, sign, contrast):
    noise = np.random.default_rng(3).normal(scale=0.08, size=(32, 32, 32)).astype(np.float32)
    write_volume(tmp_path / "ball.mrc", sign * ball(9.0) + noise + 40.0, 8.0)
    told = {1: "white", -1: "black"}[sign] if contrast == "told" else "auto"
    model = read_map(tmp_path / "ball.mrc", label="ball", contrast=told, mass_kda=500)
    assert model.volume.min() >= 0
    assert model.center_voxel == pytest.approx([15.5] * 3, abs=0.05)
    far = np.linalg.norm(np.indices((32, 32, 32)) - 15.5, axis=0) > 12
    assert np.count_nonzero(model.volume[far]) == 0
    density = model.density((33, 33, 33), 8.0)
    assert density.sum() * 8.0**3 == pytest.approx(500e3, rel=0.02)
    level = 500e3 / (4 / 3 * math.pi * 72.0**3)
    assert density[14:19, 14:19, 14:19].mean() == pytest.approx(level, rel=0.05)


def test_mass_is_the_volume_above_the_contour_times_the_density_of_protein(tmp_path):
    write_volume(tmp_path / "ball.mrc", ball(9.0), 8.0)
    truth = 4 / 3 * math.pi * 72.0**3 * 0.81 / 1000
    assert read_map(tmp_path / "ball.mrc", label="ball").mass_kda == pytest.approx(truth, rel=0.03)


@pytest.mark.parametrize("smooth_voxel", [0, 1, 2])
@pytest.mark.parametrize("edge", [16, 40])
def test_noise_is_no_particle(tmp_path, smooth_voxel, edge, refuses):
    noise = np.random.default_rng(1).normal(size=(edge,) * 3)
    write_volume(tmp_path / "noise.mrc", gaussian_filter(noise, smooth_voxel), 8.0)
    with refuses(SimulationError, "noise.mrc", "noise and no particle", "one ball"):
        read_map(tmp_path / "noise.mrc", label="ball")


def test_what_fills_its_box_is_a_particle(tmp_path):
    """A ball that touches all faces, a filament through two of them, a layer through four."""
    rod = np.zeros((32, 32, 32), dtype=np.float32)
    rod[:, 10:20, 12:22] = 1
    layer = np.zeros((32, 32, 32), dtype=np.float32)
    layer[12:18] = 1
    for index, values in enumerate((ball(15.8), rod, layer)):
        write_volume(tmp_path / f"{index}.mrc", values, 8.0)
        assert np.count_nonzero(read_map(tmp_path / f"{index}.mrc", label="thing").volume) > 3000


def test_the_center_of_mass_is_told_from_the_middle_of_the_box(tmp_path):
    """A pick less the turned offset is where the box's voxel N // 2 came to lie."""
    values = np.roll(ball(5.0), (4, -3, 2), axis=(0, 1, 2))
    write_volume(tmp_path / "ball.mrc", values, 8.0)
    model = read_map(tmp_path / "ball.mrc", label="ball")
    # An even edge: the ball's middle is half a voxel before N // 2.
    assert model.center_offset_angstrom == pytest.approx(np.multiply((3.5, -3.5, 1.5), 8.0), abs=0.1)


def test_dust_is_no_part_of_the_particle():
    values = ball(8.0)
    values[2:4, 2:4, 2:4] = 1.0
    cleaned, body = clean_map(values, "auto")
    assert not cleaned[:5, :5, :5].any()
    assert not body[:5, :5, :5].any()
    assert body[16, 16, 16]


@pytest.mark.parametrize(
    ("values", "voxel_size", "parts"),
    [
        (ball(9.0), 0, ("0 x 0 x 0 A", "voxel_size_angstrom=10.0")),
        (ball(9.0), (10.0, 10.0, 12.0), ("12 x 10 x 10 A", "resample the map")),
        (ball(9.0)[:1], 8.0, ("a flat image of 1 x 32 x 32 voxels", "ball", "three-dimensional")),
        (np.full((8, 8, 8), 3.0), 8.0, ("all voxels are 3", "shows a particle")),
        (np.full((8, 8, 8), np.nan), 8.0, ("not finite", "NaN")),
    ],
)
def test_maps_without_voxel_size_or_particle_are_refused(tmp_path, refuses, values, voxel_size, parts):
    path = tmp_path / "map.mrc"
    write_volume(path, values, 8.0)
    with mrcfile.open(path, "r+") as mrc:
        mrc.voxel_size = voxel_size
    with refuses(SimulationError, "map.mrc", *parts):
        read_map(path, label="ball")
