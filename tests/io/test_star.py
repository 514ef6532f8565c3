import numpy as np
import pytest
import starfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from frazil.core.errors import PickError
from frazil.core.records import Picks, TomogramHeader
from frazil.io.star import is_particle_file, read_particles, write_particles
from frazil.io.tables import center_angstrom

HEADER = TomogramHeader("TS_1", (30, 40, 50), 10.0, "TS_1.mrc")
HEADERS = {"TS_1": HEADER}


def write(path, picks):
    """Write picks with the image of each."""
    names = [[f"volumes/{number}.mrc"] * len(some) for number, some in enumerate(picks)]
    write_particles(path, picks, headers=HEADERS, voxel_size_angstrom=10.0, box_size_voxel=64, image_names=names)


OPTICS = """
data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnVoltage #3
_rlnSphericalAberration #4
_rlnTomoTiltSeriesPixelSize #5
1 opticsGroup1 300 2.7 1.54
"""


def star(tmp_path, rows, *columns, optics=OPTICS, name="ribosome.star"):
    """A STAR file as RELION writes it: one string a particle, in the order of the columns."""
    all_columns = ["rlnTomoName", *(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"), *columns]
    lines = [f"_{column} #{number}" for number, column in enumerate(all_columns, start=1)]
    path = tmp_path / name
    path.write_text("\n".join([optics, "data_particles", "", "loop_", *lines, *rows, ""]))
    return path


def placed(path):
    return [record.placed(HEADER) for record in read_particles(path)]


def test_coordinates_count_from_the_centre_at_half_the_shape(tmp_path):
    (picks,) = placed(star(tmp_path, ["TS_1 0 0 0", "TS_1 10 20 -30"]))
    np.testing.assert_allclose(picks.centers_angstrom, [[150, 200, 250], [120, 220, 260]])
    assert (picks.run, picks.label, picks.rotations) == ("TS_1", "ribosome", None)
    np.testing.assert_allclose(center_angstrom(HEADER) / 10, [15, 20, 25])


def test_angles_by_hand(tmp_path):
    # RELION's matrix of rot = 90, tilt = 90, psi = 0 is [[0, 0, -1], [-1, 0, 0], [0, 1, 0]] on xyz columns:
    # the particle's x axis points to -y of the tomogram, its y axis to z, its z axis to -x.
    (picks,) = placed(star(tmp_path, ["TS_1 0 0 0 90 90 0"], "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"))
    z, y, x = np.eye(3)
    np.testing.assert_allclose(picks.rotations[0] @ x, -y, atol=1e-12)
    np.testing.assert_allclose(picks.rotations[0] @ y, z, atol=1e-12)
    np.testing.assert_allclose(picks.rotations[0] @ z, -x, atol=1e-12)


def test_angles_that_are_all_zero_are_not_known(tmp_path):
    (picks,) = placed(star(tmp_path, ["TS_1 0 0 0 0 0 0"], "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"))
    assert picks.rotations is None


def test_refined_shifts_are_subtracted(tmp_path):
    (picks,) = placed(star(tmp_path, ["TS_1 0 0 0 1 2 3"], *(f"rlnOrigin{axis}Angst" for axis in "XYZ")))
    np.testing.assert_allclose(picks.centers_angstrom, [[147, 198, 249]])


def test_the_class_is_the_file_its_class_numbers_or_our_own_column(tmp_path):
    def labels(path):
        return [record.label for record in read_particles(path)]

    rows = ["TS_1 0 0 0 1", "TS_1 0 0 0 2"]
    assert labels(star(tmp_path, ["TS_1 0 0 0"], name="beta_amylase.star")) == ["beta-amylase"]
    assert labels(star(tmp_path, rows[:1], "rlnClassNumber")) == ["ribosome"]
    assert labels(star(tmp_path, rows, "rlnClassNumber")) == ["ribosome-class1", "ribosome-class2"]
    named = ["TS_1 0 0 0 1 virus_like", "TS_2 0 0 0 2 80"]
    assert labels(star(tmp_path, named, "rlnClassNumber", "frazilLabel")) == ["virus-like", "80"]


def test_names_that_look_like_numbers_stay_names(tmp_path):
    (record,) = read_particles(star(tmp_path, ["007 0 0 0"]))
    assert record.tomogram == "007"


def test_a_single_particle_without_a_loop_is_read(tmp_path):
    path = tmp_path / "ribosome.star"
    cells = {"rlnTomoName": "TS_1"} | {f"rlnCenteredCoordinate{axis}Angst": 10 for axis in "XYZ"}
    path.write_text(
        OPTICS + "\ndata_particles\n\n" + "\n".join(f"_{key} {value}" for key, value in cells.items()) + "\n"
    )
    (picks,) = placed(path)
    np.testing.assert_allclose(picks.centers_angstrom, [[160, 210, 260]])


def test_without_the_tomogram_the_centre_is_not_known(tmp_path):
    (record,) = read_particles(star(tmp_path, ["TS_1 0 0 0"]))
    assert np.isnan(record.placed(None).centers_angstrom).all()


centers = hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.just(3)), elements=st.floats(0, 1e4))
angles = st.tuples(st.floats(-180, 180), st.floats(0, 180), st.floats(-180, 180))


@given(centers=centers, angles=st.none() | angles)
def test_what_is_written_is_read(tmp_path, centers, angles):
    rotations = None
    if angles is not None:
        rotations = Rotation.from_euler("ZYX", [angles] * len(centers), degrees=True).as_matrix()
    path = tmp_path / "round.star"
    write(path, [Picks("TS_1", "ribosome", centers, rotations)])
    (read,) = placed(path)
    assert read.label == "ribosome"
    np.testing.assert_allclose(read.centers_angstrom, centers, atol=1e-6)
    if rotations is None or np.allclose(rotations, np.eye(3), atol=1e-6):
        assert read.rotations is None
    else:
        np.testing.assert_allclose(read.rotations, rotations, atol=1e-6)


def test_relion_finds_what_it_needs(tmp_path):
    path = tmp_path / "particles.star"
    picks = [Picks("TS_1", "ribosome", np.array([[150.0, 200.0, 260.0]])), Picks("TS_1", "apo", np.zeros((1, 3)))]
    write(path, picks)
    blocks = starfile.read(path)
    assert blocks["general"].iloc[0].to_dict() == {"rlnTomoSubTomosAre2DStacks": 0}
    optics = blocks["optics"].iloc[0]
    assert (optics.rlnOpticsGroup, optics.rlnImagePixelSize, optics.rlnImageSize) == (1, 10.0, 64)
    assert (optics.rlnVoltage, optics.rlnSphericalAberration, optics.rlnImageDimensionality) == (300.0, 2.7, 3)
    first, second = blocks["particles"].to_dict("records")
    assert first == {
        "rlnTomoName": "TS_1",
        "rlnTomoParticleName": "TS_1/1",
        "rlnOpticsGroup": 1,
        "rlnCenteredCoordinateXAngst": 10.0,
        "rlnCenteredCoordinateYAngst": 0.0,
        "rlnCenteredCoordinateZAngst": 0.0,
        "rlnAngleRot": 0.0,
        "rlnAngleTilt": 0.0,
        "rlnAnglePsi": 0.0,
        "rlnImageName": "volumes/0.mrc",
        "rlnClassNumber": 2,
        "frazilLabel": "ribosome",
    }
    assert (second["rlnTomoParticleName"], second["rlnClassNumber"]) == ("TS_1/2", 1)
    again = tmp_path / "again.star"
    write(again, picks)
    assert path.read_text() == again.read_text()  # no time of day in it


def test_angles_at_the_pole_are_written_without_a_warning(tmp_path):
    turned = Rotation.from_euler("z", [[30.0]], degrees=True).as_matrix()[:, ::-1, ::-1]  # zyx
    path = tmp_path / "pole.star"
    write(path, [Picks("TS_1", "a", np.zeros((1, 3)), turned)])
    (read,) = placed(path)
    np.testing.assert_allclose(read.rotations, turned, atol=1e-6)


def test_other_star_files_are_told_from_particles(tmp_path):
    other = tmp_path / "tomograms.star"
    other.write_text("data_global\n\nloop_\n_rlnTomoName #1\n_rlnTomoSizeX #2\nTS_1 630\n")
    assert not is_particle_file(other)
    assert is_particle_file(star(tmp_path, ["TS_1 0 0 0"]))


def test_star_files_that_cannot_be_used(tmp_path, refuses):
    with refuses(PickError, "ribosome.star", "no rows"):
        read_particles(star(tmp_path, []))
    with refuses(PickError, "ribosome.star, particle 2", "rlnCenteredCoordinateYAngst", "'left'", "finite number"):
        read_particles(star(tmp_path, ["TS_1 0 0 0", "TS_1 0 left 0"]))
    with refuses(PickError, "particle 1", "rlnAnglePsi: nan; a finite number"):
        read_particles(star(tmp_path, ["TS_1 0 0 0 1 2 nan"], "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"))
    with refuses(PickError, "particle 1", "'__'", "letters"):
        read_particles(star(tmp_path, ["TS_1 0 0 0 __"], "frazilLabel"))
    with refuses(PickError, "absent.star", "no such file"):
        read_particles(tmp_path / "absent.star")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hello\n", ["no data blocks"]),
        ("", ["no data blocks"]),
        ("data_particles\n\nloop_\n_rlnTomoName #1\n_rlnX #2\nTS_1\nTS_1 2 3 4\n", ["damaged"]),
        ("data_particles\n\n_rlnTomoName\n", ["damaged"]),
        (OPTICS, ["no rows in data_particles"]),
        (
            OPTICS + "\ndata_particles\n\nloop_\n_rlnTomoName #1\n_rlnCoordinateX #2\nTS_1 5\n",
            ["no column rlnCenteredCoordinateXAngst", "RELION"],
        ),
    ],
)
def test_text_that_is_no_particle_list(tmp_path, text, parts, refuses):
    path = tmp_path / "x.star"
    path.write_text(text)
    with refuses(PickError, "x.star", *parts):
        read_particles(path)


def test_picks_that_cannot_be_written(tmp_path, refuses):
    path = tmp_path / "out.star"
    with refuses(PickError, "out.star", "no picks"):
        write(path, [])
    with refuses(PickError, "out.star", "not finite", "leave them out"):
        write(path, [Picks("TS_1", "a", np.full((1, 3), np.nan))])
    assert not path.exists()


PIXELS = [f"rlnCoordinate{axis}" for axis in "XYZ"]


def table(tmp_path, columns, row, *, optics="", block="particles", name="ribosome.star", bom=""):
    """A STAR file with one particle."""
    lines = [f"_{column} #{number}" for number, column in enumerate(columns, start=1)]
    path = tmp_path / name
    path.write_text("\n".join([bom + optics, f"data_{block}", "", "loop_", *lines, row, ""]))
    return path


@pytest.mark.parametrize(
    ("columns", "values", "optics"),
    [
        ([], "", OPTICS.replace("300 2.7 1.54", "300 2.7 2.5")),  # RELION 4: pixels of the tilt series
        (["rlnTomoTiltSeriesPixelSize"], "2.5", ""),
        (["rlnPixelSize"], "2.5", ""),  # Warp, M
        (["rlnMagnification", "rlnDetectorPixelSize"], "40000 10", ""),  # RELION 3
        (["rlnDetectorPixelSize"], "2.5", ""),  # pytom-match-pick
    ],
)
@pytest.mark.parametrize("tomogram", ["rlnTomoName", "rlnMicrographName"])
def test_coordinates_in_pixels_count_from_the_first_voxel(tmp_path, columns, values, optics, tomogram):
    path = table(
        tmp_path, [tomogram, *PIXELS, "rlnOpticsGroup", *columns], f"TS_1 40 20 8 1 {values}", optics=optics, block=""
    )
    assert is_particle_file(path)
    (read,) = read_particles(path)
    assert read.tomogram == "TS_1"
    np.testing.assert_allclose(read.placed(None).centers_angstrom, [[20, 50, 100]])  # z, y, x at 2.5 A


def test_shifts_in_pixels_and_in_angstrom(tmp_path):
    columns = ["rlnTomoName", *PIXELS, "rlnPixelSize"]
    pixels = table(tmp_path, [*columns, *(f"rlnOrigin{axis}" for axis in "XYZ")], "TS_1 40 20 8 2.5 4 0 -2")
    angstrom = table(
        tmp_path, [*columns, *(f"rlnOrigin{axis}Angst" for axis in "XYZ")], "TS_1 40 20 8 2.5 10 0 -5", name="b.star"
    )
    for path in (pixels, angstrom):
        np.testing.assert_allclose(read_particles(path)[0].placed(None).centers_angstrom, [[25, 50, 90]])
    # voxels of the tomogram, and shifts in angstrom
    (read,) = read_particles(angstrom, "voxel")
    np.testing.assert_allclose(read.placed(HEADER).centers_angstrom, [[85, 200, 390]])


def test_pixels_of_an_unknown_size_want_units(tmp_path, refuses):
    path = table(tmp_path, ["rlnTomoName", *PIXELS], "TS_1 40 20 8")
    with refuses(PickError, "ribosome.star", "rlnCoordinateX", "rlnTomoTiltSeriesPixelSize", "give the units: voxel"):
        read_particles(path)
    np.testing.assert_allclose(read_particles(path, "angstrom")[0].placed(None).centers_angstrom, [[8, 20, 40]])


def test_centred_angstrom_need_no_optics(tmp_path):
    (picks,) = placed(star(tmp_path, ["TS_1 10 20 -30"], optics=""))
    np.testing.assert_allclose(picks.centers_angstrom, [[120, 220, 260]])


def test_a_byte_order_mark_and_apostrophes_in_names(tmp_path):
    path = table(
        tmp_path, ["rlnTomoName", *PIXELS, "rlnPixelSize", "frazilLabel"], "A's 1 1 1 1 '5'-cap'", bom="\ufeff"
    )
    path.write_text(path.read_text().replace("\\'", "'"))
    (read,) = read_particles(path)
    assert (read.tomogram, read.label) == ("A's", "5'-cap")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("TS_1.star", "particle"),
        ("TS_1_particles.star", "particles"),
        ("rec_TS_1_ribosome.star", "ribosome"),
        ("ribosome-TS_1.star", "ribosome"),
        ("TS_10_ribosome.star", "TS-10-ribosome"),
    ],
)
def test_a_file_a_tomogram_is_no_class_a_tomogram(tmp_path, name, label):
    (picks,) = read_particles(star(tmp_path, ["TS_1.tomostar 0 0 0"], name=name))
    assert picks.label == label
