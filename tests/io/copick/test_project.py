import json
import warnings

import copick
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from frazil.core.errors import OutputError, PickError
from frazil.core.records import Picks
from frazil.core.settings import SourceSettings
from frazil.io.copick import project as writer
from frazil.io.sources import open_source

VOLUME = np.random.default_rng(0).standard_normal((6, 8, 10)).astype(np.float32)


def project(root):
    path = writer.write_project_config(root, name="tiny", labels_radius_angstrom={"ribosome": 150, "apo-ferritin": 60})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return copick.from_file(str(path))


def test_copick_opens_the_configuration(tmp_path):
    objects = {entry.name: entry for entry in project(tmp_path).pickable_objects}
    assert {name: (entry.label, entry.radius) for name, entry in objects.items()} == {
        "apo-ferritin": (1, 60.0),
        "ribosome": (2, 150.0),
    }


def test_copick_reads_the_tomogram(tmp_path):
    path = writer.write_tomogram(
        tmp_path, run="TS_1", volume=VOLUME, voxel_size_angstrom=10.012444, tomogram_type="denoised", levels=2
    )
    assert path.relative_to(tmp_path).as_posix() == "ExperimentRuns/TS_1/VoxelSpacing10.012/denoised.zarr"
    tomogram = project(tmp_path).get_run("TS_1").get_voxel_spacing(10.012).get_tomograms("denoised")[0]
    np.testing.assert_array_equal(tomogram.numpy(), VOLUME)
    assert tomogram.numpy("1").shape == (3, 4, 5)


def test_copick_reads_picks_and_their_orientation(tmp_path):
    turn = Rotation.from_euler("z", 90, degrees=True).as_matrix()  # acts on xyz: x goes to y
    picks = Picks("TS_1", "ribosome", np.array([[3.0, 2.0, 1.0]]), rotations=turn[None, ::-1, ::-1])
    writer.write_picks(tmp_path, picks, user="frazil", session="5")
    (read,) = project(tmp_path).get_run("TS_1").get_picks("ribosome", user_id="frazil", session_id="5")
    positions, transforms = read.numpy()
    np.testing.assert_allclose(positions, [[1, 2, 3]])
    np.testing.assert_allclose(transforms[0, :3, :3] @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    assert read.trust_orientation
    writer.write_picks(tmp_path, Picks("TS_1", "ribosome", np.zeros((2, 3))), user="frazil", session="6")
    (read,) = project(tmp_path).get_run("TS_1").get_picks("ribosome", session_id="6")
    assert not read.load().trust_orientation
    assert read.instance_ids().tolist() == [0, 0]


def test_copick_reads_which_particle_of_a_mask_a_pick_is(tmp_path):
    picks = Picks("TS_1", "ribosome", np.zeros((3, 3)))
    writer.write_picks(tmp_path, picks, user="frazil", instances=np.array([7, 300, 2]))
    (read,) = project(tmp_path).get_run("TS_1").get_picks("ribosome")
    assert [point.instance_id for point in read.points] == [7, 300, 2]


def test_simulated_is_said(tmp_path):
    path = writer.write_project_config(tmp_path, name="x", labels_radius_angstrom={"ribosome": 150}, simulated=True)
    assert json.loads(path.read_text())["description"].startswith("Simulated by frazil")
    zeros = np.zeros((2, 2, 2), np.uint8)
    options = {"run": "TS_1", "volume": zeros, "voxel_size_angstrom": 10.0, "name": "classes", "user": "frazil"}
    path = writer.write_segmentation(tmp_path, **options, simulated=True)
    assert json.loads((path / ".zattrs").read_text())["frazil"] == {"simulated": True}
    path = writer.write_segmentation(tmp_path, **options)
    assert "frazil" not in json.loads((path / ".zattrs").read_text())


def test_copick_reads_the_segmentation(tmp_path):
    labels = (VOLUME > 1).astype(np.uint16) * 300
    writer.write_segmentation(
        tmp_path, run="TS_1", volume=labels, voxel_size_angstrom=10.0, name="particles", user="frazil"
    )
    (read,) = project(tmp_path).get_run("TS_1").segmentations
    assert (read.name, read.user_id, read.session_id, read.voxel_size) == ("particles", "frazil", "0", 10.0)
    assert read.segmentation_type == "multilabel"
    assert read.numpy().dtype == np.uint16
    np.testing.assert_array_equal(read.numpy(), labels)


centers = hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.just(3)), elements=st.floats(-1e5, 1e5))


@given(centers=centers, seed=st.none() | st.integers(0, 99))
def test_picks_come_back_as_they_were(tmp_path, centers, seed):
    rotations = None if seed is None else Rotation.random(len(centers), seed).as_matrix()
    root = tmp_path / "round"
    writer.write_picks(root, Picks("TS_1", "ribosome", centers, rotations), user="frazil")
    (read,) = open_source(root, SourceSettings()).picks()
    assert (read.run, read.label, read.user, read.session) == ("TS_1", "ribosome", "frazil", "0")
    np.testing.assert_allclose(read.centers_angstrom, centers, rtol=1e-12)
    if rotations is None:
        assert read.rotations is None
    else:
        np.testing.assert_allclose(read.rotations, rotations, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "names", "parts"),
    [
        ({"label": "beta_amylase"}, {}, ["class 'beta_amylase'", "'beta-amylase'"]),
        ({"run": "a/b"}, {}, ["run 'a/b'"]),
        ({}, {"user": "an na"}, ["user 'an na'", "'an-na'"]),
        ({}, {"session": ""}, ["session ''"]),
        ({"centers_angstrom": np.array([[np.nan, 0, 0], [0, 0, 0]])}, {}, ["1 of 2", "not finite", "leave them out"]),
        ({"rotations": np.full((1, 3, 3), np.inf)}, {}, ["1 of 1", "not finite"]),
    ],
)
def test_picks_that_cannot_be_written(tmp_path, change, names, parts, refuses):
    picks = Picks(**{"run": "TS_1", "label": "ribosome", "centers_angstrom": np.zeros((1, 3))} | change)
    with refuses(PickError, *parts):
        writer.write_picks(tmp_path, picks, **{"user": "frazil"} | names)
    assert list(tmp_path.rglob("*.json")) == []


def test_names_that_cannot_be_written(tmp_path, refuses):
    sizes = {"volume": VOLUME, "voxel_size_angstrom": 10.0}
    with refuses(OutputError, "tomogram type 'a_b'", "'a-b'"):
        writer.write_tomogram(tmp_path, run="TS_1", tomogram_type="a_b", **sizes)
    with refuses(OutputError, "run '.a'"):
        writer.write_tomogram(tmp_path, run=".a", tomogram_type="wbp", **sizes)
    with refuses(PickError, "class 'a b'"):
        writer.write_project_config(tmp_path, name="x", labels_radius_angstrom={"a b": 1.0})


def test_a_pick_file_is_plain_copick_json(tmp_path):
    path = writer.write_picks(tmp_path, Picks("TS_1", "ribosome", np.array([[3.0, 2.0, 1.0]])), user="frazil")
    assert path.relative_to(tmp_path).as_posix() == "ExperimentRuns/TS_1/Picks/frazil_0_ribosome.json"
    content = json.loads(path.read_text())
    assert content["unit"] == "angstrom"
    assert content["points"][0]["location"] == {"x": 1.0, "y": 2.0, "z": 3.0}


def test_copick_reads_the_map_of_a_class(tmp_path):
    volume = np.zeros((6, 6, 6), dtype=np.float32)
    volume[2:4, 2:4, 2:4] = 0.8
    volume[0, 0, 0] = 0.01
    threshold = writer.write_object_map(tmp_path, "ribosome", volume, 10.0)
    assert threshold == 0.4
    path = writer.write_project_config(
        tmp_path, name="tiny", labels_radius_angstrom={"ribosome": 150}, map_thresholds={"ribosome": threshold}
    )
    thing = copick.from_file(str(path)).get_object("ribosome")
    np.testing.assert_array_equal(thing.numpy(), volume)
    assert thing.map_threshold == 0.4


def test_every_class_has_a_color_of_its_own(tmp_path):
    labels = [f"class-{number:02d}" for number in range(24)]
    path = writer.write_project_config(tmp_path, name="many", labels_radius_angstrom=dict.fromkeys(labels, 50.0))
    colors = np.array([thing.color for thing in copick.from_file(str(path)).pickable_objects], dtype=float)
    assert colors.shape == (24, 4)
    assert (colors[:, 3] == 255).all()
    apart = np.abs(colors[:, None] - colors[None]).max(axis=-1)[np.triu_indices(24, 1)]
    assert apart.min() >= 8
    assert np.ptp(colors[:, :3], axis=1).min() > 100  # none is gray
