import numpy as np

from frazil.core.errors import PickError
from frazil.core.records import TomogramHeader
from frazil.io.picks_table import read_table


def test_voxels_become_angstrom_and_xyz_becomes_zyx(tmp_path):
    path = tmp_path / "picks.csv"
    path.write_text(
        "experiment,particle_type,x,y,z\nTS_1.mrc,beta_amylase,1,2,3\nTS_1,beta-amylase,4,5,6\nTS_2,ribosome,7,8,9\n"
    )
    first, second = read_table(path)
    assert (first.tomogram, first.label, second.tomogram, second.label) == ("TS_1", "beta-amylase", "TS_2", "ribosome")
    header = TomogramHeader("TS_1", (20, 20, 20), 10.0, "TS_1.mrc")
    np.testing.assert_allclose(first.picks("TS_1", header).centers_angstrom, [[30, 20, 10], [60, 50, 40]])
    assert np.isnan(second.unplaced("TS_2").centers_angstrom).all()
    assert len(second.unplaced("TS_2")) == 1


def test_cells_that_cannot_be_used(tmp_path, refuses):
    path = tmp_path / "picks.csv"
    path.write_text("experiment,particle_type,x,y,z\nTS_1,ribosome,1,two,3\n")
    with refuses(PickError, "picks.csv, line 2, column y", "'two'", "finite number"):
        read_table(path)
    path.write_text("experiment,particle_type,x,y,z\nTS_1,__,1,2,3\n")
    with refuses(PickError, "line 2, column particle_type", "'__'", "class name"):
        read_table(path)
    path.write_text("experiment,x,y,z\nTS_1,1,2,3\n")
    with refuses(PickError, "no column particle_type", "experiment, x, y, z"):
        read_table(path)
