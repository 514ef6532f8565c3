import numpy as np
import pytest

from frazil.core.records import Picks, Tomogram, TomogramHeader
from frazil.simulation.calibration.pieces import Piece, measured_piece
from frazil.simulation.preset import load_simulation_preset
from frazil.simulation.specimen.specimen import build_specimen

PRESET = load_simulation_preset("small", {"specimen.surroundings.background_protein_mg_per_ml": 0.0})


def piece(voxel_size_angstrom=20.0, centers=((240.0, 800.0, 1000.0),)) -> Piece:
    picks = Picks("TS_1", "ribosome", np.array(centers))
    real = np.random.default_rng(0).standard_normal((24, 20, 22)).astype(np.float32)
    return Piece("TS_1", real, voxel_size_angstrom, (0, 30, 40), (picks,))


@pytest.mark.parametrize(("voxel_size", "factor"), [(5.0, 1), (10.012, 1), (13.3, 2), (20.025, 2), (31.0, 3)])
def test_coarse_voxels_are_simulated_finer_by_a_whole_factor(voxel_size, factor):
    one = piece(voxel_size)
    assert one.factor == factor
    assert one.fine_angstrom * factor == pytest.approx(voxel_size)
    assert one.fine_angstrom <= 10.5


def test_what_is_cut_is_the_mean_of_the_fine_voxels_of_the_piece():
    one = piece()
    simulated = np.zeros(one.simulated_voxel, dtype=np.float32)
    z, y, x = one.margin_voxel
    simulated[z + 2 : z + 4, y + 4 : y + 6, x + 6 : x + 8] = np.arange(8).reshape(2, 2, 2)
    cut = one.cut(simulated)
    assert cut.shape == one.real.shape
    assert cut[1, 2, 3] == pytest.approx(3.5)
    assert cut.sum() == pytest.approx(3.5)


def test_a_pick_is_simulated_where_it_was_picked():
    # 1 voxel of 20 A is two of 10 A: what lies at voxel (12, 40, 50) of the real tomogram lies at (12, 10, 10) of the piece
    one = piece(centers=[(240.0, 800.0, 1000.0), (240.0, 9000.0, 1000.0)])
    like = one.likeness()
    assert sum(map(len, like.picks)) == 1, "a pick far from the piece is left out"
    density = one.cut(build_specimen(PRESET.specimen, np.random.default_rng(0), like=like).density)
    found = np.array([np.average(index, weights=density) for index in np.indices(density.shape)])
    # a pick in angstrom is at the middle of a fine voxel, half of one before the middle of the coarse one
    np.testing.assert_allclose(found, np.array([12, 10, 10]) - 0.25, atol=0.1)


def test_the_measured_piece_is_the_box_around_the_chunks_that_are_there():
    volume = np.arange(8 * 12 * 12, dtype=np.float32).reshape(8, 12, 12)
    present = np.zeros((2, 3, 3), dtype=bool)
    present[:, 1:, 2] = True
    header = TomogramHeader("TS_1", volume.shape, 10.0, "here")
    start, cut = measured_piece(Tomogram(header, volume, (4, 4, 4), present))
    assert start == (0, 4, 8)
    np.testing.assert_array_equal(cut, volume[:, 4:, 8:])
    present[0, 1, 2] = False  # a gap: the first chunk alone
    start, cut = measured_piece(Tomogram(header, volume, (4, 4, 4), present))
    assert (start, cut.shape) == ((0, 8, 8), (4, 4, 4))
    assert measured_piece(Tomogram(header, volume, (4, 4, 4), np.zeros_like(present))) is None


def test_a_large_tomogram_gives_its_middle():
    volume = np.zeros((4, 300, 140), dtype=np.float32)
    header = TomogramHeader("TS_1", volume.shape, 10.0, "here")
    start, cut = measured_piece(Tomogram(header, volume, volume.shape, np.ones((1, 1, 1), dtype=bool)))
    assert (start, cut.shape) == ((0, 86, 6), (4, 128, 128))
