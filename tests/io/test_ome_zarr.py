import json
import shutil

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numcodecs import blosc

from frazil.core.errors import MissingTomogramError, OutputError, SourceError
from frazil.core.reading import read_bytes
from frazil.io.ome_zarr import open_pyramid, write_pyramid

VOLUME = np.random.default_rng(0).standard_normal((9, 20, 150)).astype(np.float32)


def opened(path):
    store = zarr.storage.FSStore(str(path), mode="r", dimension_separator="/")
    return open_pyramid(store, str(path))


@pytest.fixture
def image(tmp_path):
    return write_pyramid(tmp_path / "denoised.zarr", VOLUME, 10.0, levels=2)


def edit(image, change):
    attributes = json.loads((image / ".zattrs").read_text())
    change(attributes["multiscales"][0])
    (image / ".zattrs").write_text(json.dumps(attributes))


@given(
    volume=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    voxel_size=st.floats(0.5, 100),
    tilts=st.none() | st.tuples(st.floats(-90, -1), st.floats(1, 90)),
)
def test_what_is_written_is_read(tmp_path, volume, voxel_size, tilts):
    pyramid = opened(write_pyramid(tmp_path / "t.zarr", volume, voxel_size, tilt_range_degrees=tilts))
    assert pyramid.tilt_range_degrees == tilts
    assert pyramid.levels[0].voxel_size_angstrom == pytest.approx(voxel_size, rel=1e-12)
    assert pyramid.chunk_present(0).all()
    back = pyramid.read(0)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, volume)


def test_the_metadata_is_ome_ngff(image):
    attributes = json.loads((image / ".zattrs").read_text())
    (scales,) = attributes["multiscales"]
    assert scales["version"] == "0.4"
    assert scales["axes"] == [{"name": a, "type": "space", "unit": "angstrom"} for a in "zyx"]
    assert scales["datasets"][1] == {
        "path": "1",
        "coordinateTransformations": [{"type": "scale", "scale": [20.0, 20.0, 20.0]}],
    }
    array = json.loads((image / "0" / ".zarray").read_text())
    assert array["zarr_format"] == 2
    assert array["chunks"] == [9, 20, 128]
    assert array["dimension_separator"] == "/"
    assert (array["compressor"]["id"], array["compressor"]["cname"]) == ("blosc", "lz4")
    assert (image / "0" / "0" / "0" / "1").is_file()


def test_simulated_is_said(tmp_path):
    path = write_pyramid(tmp_path / "s.zarr", VOLUME, 10.0, tilt_range_degrees=(-45.0, 48.0), simulated=True)
    ours = json.loads((path / ".zattrs").read_text())["frazil"]
    assert ours == {"simulated": True, "tilt_range_degrees": [-45.0, 48.0]}
    assert open_pyramid(zarr.DirectoryStore(str(path)), str(path)).simulated


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    volume = np.random.default_rng(0).standard_normal((128, 128, 128), dtype=np.float32)
    volume[:40] = 0  # some blocks are ready long before others
    written = set()
    for turn in range(6):
        path = write_pyramid(tmp_path / f"{turn}.zarr", volume, 10.0)
        written.add((path / "0" / "0" / "0" / "0").read_bytes())
    assert len(written) == 1
    assert blosc.use_threads is None  # as it was


def test_a_level_is_the_mean_of_the_one_above_and_an_odd_layer_stands_for_itself(image):
    half = opened(image).read(1)
    assert half.shape == (5, 10, 75)
    np.testing.assert_allclose(half[1, 2, 3], VOLUME[2:4, 4:6, 6:8].mean(), rtol=1e-5)
    np.testing.assert_allclose(half[4, 2, 3], VOLUME[8, 4:6, 6:8].mean(), rtol=1e-5)


def test_a_chunk_of_zeros_is_present_and_a_missing_one_is_not(tmp_path):
    path = write_pyramid(tmp_path / "zero.zarr", np.zeros((4, 4, 300), dtype=np.float32), 10.0)
    assert opened(path).chunk_present(0).tolist() == [[[True, True, True]]]
    (path / "0" / "0" / "0" / "1").unlink()
    assert opened(path).chunk_present(0).tolist() == [[[True, False, True]]]


@pytest.mark.parametrize("fill", [0, None])
def test_an_absent_chunk_reads_as_zero(image, fill):
    meta = json.loads((image / "0" / ".zarray").read_text())
    (image / "0" / ".zarray").write_text(json.dumps(meta | {"fill_value": fill}))
    (image / "0" / "0" / "0" / "0").unlink()
    volume = opened(image).read(0)
    assert (volume[:, :, :128] == 0).all()
    np.testing.assert_array_equal(volume[:, :, 128:], VOLUME[:, :, 128:])


def test_chunks_named_with_dots_and_plain_mappings_are_read(tmp_path):
    path = tmp_path / "dots.zarr"
    group = zarr.open_group(zarr.DirectoryStore(str(path)), mode="w")
    group.create_dataset("0", data=VOLUME, chunks=(9, 20, 75))
    group.attrs["multiscales"] = [
        {
            "axes": [{"name": a, "type": "space"} for a in "zyx"],
            "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [10, 10, 10]}]}],
        }
    ]
    for pyramid in (opened(path), open_pyramid(zarr.DirectoryStore(str(path)), str(path))):
        np.testing.assert_array_equal(pyramid.read(0), VOLUME)
        assert pyramid.chunk_present(0).shape == (1, 1, 2)
        assert pyramid.chunk_present(0).all()


def test_a_scale_over_all_levels_and_other_units_count(image):
    def change(scales):
        scales["coordinateTransformations"] = [{"type": "scale", "scale": [0.5, 0.5, 0.5]}]
        for axis in scales["axes"]:
            axis["unit"] = "nanometer"

    edit(image, change)
    assert [level.voxel_size_angstrom for level in opened(image).levels] == [50.0, 100.0]


def test_levels_that_are_missing(image, refuses):
    with refuses(MissingTomogramError, "denoised.zarr", "level 2 does not exist", "on disk: 0, 1", "choose level 0"):
        opened(image).read(2)
    shutil.rmtree(image / "0")
    with refuses(
        MissingTomogramError, "denoised.zarr", "level 0 is listed but missing", "on disk: 1", "choose level 1"
    ):
        opened(image).read(0)
    shutil.rmtree(image / "1")
    with refuses(MissingTomogramError, "denoised.zarr", "none of its 2", "copy the tomogram again"):
        opened(image).chunk_present(0)


def test_a_damaged_chunk(image, refuses):
    (image / "0" / "0" / "0" / "1").write_bytes(b"rubbish")
    with refuses(SourceError, "denoised.zarr", "0: a chunk cannot be read", "copy the tomogram again"):
        opened(image).read(0)


def test_a_chunk_that_cannot_be_read_is_no_absent_chunk(image, monkeypatch, refuses):
    def fail(path, error, **options):
        if path.name == ".zarray":  # metadata
            return read_bytes(path, error, **options)
        raise error(f"{path}: permission denied")

    pyramid = opened(image)
    monkeypatch.setattr("frazil.core.reading.read_bytes", fail)
    with refuses(SourceError, "denoised.zarr", "0/0/0/0", "permission denied"):
        pyramid.read(0)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda scales: scales.pop("axes"), ["OME-NGFF 0.4", "axes"]),
        (lambda scales: scales["datasets"].clear(), ["OME-NGFF 0.4"]),
        (lambda scales: scales["axes"].reverse(), ["axes x, y, z", "expected z, y, x"]),
        (lambda scales: scales["axes"][0].update(unit="parsec"), ["unit", "parsec", "angstrom"]),
        (lambda scales: scales["datasets"][0]["coordinateTransformations"][0].update(scale=[0, 0, 0]), ["0 x 0 x 0"]),
        (lambda scales: scales["datasets"][0]["coordinateTransformations"][0].update(scale=[9, 9, 10]), ["9 x 9 x 10"]),
        (lambda scales: scales["datasets"][0]["coordinateTransformations"][0].update(scale=["a", 9, 10]), ["NGFF"]),
    ],
)
def test_metadata_that_cannot_be_used(image, change, parts, refuses):
    edit(image, change)
    with refuses(SourceError, "denoised.zarr", *parts):
        opened(image)


def test_files_that_are_no_ome_zarr_2(image, refuses):
    (image / ".zattrs").write_text("{")
    with refuses(SourceError, ".zattrs", "damaged"):
        opened(image)
    (image / ".zattrs").write_text("[]")
    with refuses(SourceError, ".zattrs", "damaged"):
        opened(image)
    (image / ".zattrs").unlink()
    with refuses(SourceError, "denoised.zarr", "no .zattrs"):
        opened(image)
    (image / "zarr.json").write_text("{}")
    with refuses(SourceError, "denoised.zarr", "version 3", "convert"):
        opened(image)


def test_damaged_array_metadata_and_tilts(image, refuses):
    attributes = json.loads((image / ".zattrs").read_text())
    (image / ".zattrs").write_text(json.dumps(attributes | {"frazil": {"tilt_range_degrees": "wide"}}))
    with refuses(SourceError, "tilt_range_degrees", "'wide'", "correct it"):
        opened(image)
    (image / ".zattrs").write_text(json.dumps(attributes))
    (image / "0" / ".zarray").write_text("{}")
    with refuses(SourceError, "0/.zarray", "damaged"):
        opened(image).read(0)


def test_an_array_that_is_no_volume(image, refuses):
    shutil.rmtree(image / "0")
    zarr.open_group(zarr.DirectoryStore(str(image)), mode="a").create_dataset("0", data=np.zeros((2, 2)))
    with refuses(SourceError, "denoised.zarr", "2-dimensional"):
        opened(image).read(0)


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch, refuses):
    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.DirectoryStore, "__setitem__", full)
    with refuses(OutputError, "t.zarr", "disk is full"):
        write_pyramid(tmp_path / "t.zarr", VOLUME, 10.0)
    assert list(tmp_path.iterdir()) == []


def test_rewriting_replaces_the_whole_image(image):
    write_pyramid(image, VOLUME[:4], 10.0)
    assert len(opened(image).levels) == 1
    assert not (image / "1").exists()
    assert opened(image).read(0).shape == (4, 20, 150)


@pytest.mark.parametrize(("said", "stored"), [(".", "/"), ("/", "."), (None, "/")])
def test_chunks_are_present_where_they_are_read_whatever_zarray_says_of_their_names(image, said, stored):
    if stored == ".":
        for number in "01":
            (image / f"0/0/0/{number}").rename(image / f"0/0.0.{number}")
    meta = json.loads((image / "0/.zarray").read_text())
    del meta["dimension_separator"]
    (image / "0/.zarray").write_text(json.dumps(meta | ({"dimension_separator": said} if said else {})))
    pyramid = opened(image)
    assert pyramid.chunk_present(0).all()
    np.testing.assert_array_equal(pyramid.read(0), VOLUME)


def test_a_chunk_under_the_other_separator_is_absent_where_others_are_under_the_one_that_is_said(image):
    (image / "0/0/0/1").rename(image / "0/0.0.1")
    pyramid = opened(image)
    assert pyramid.chunk_present(0).tolist() == [[[True, False]]]
    assert not pyramid.read(0)[:, :, 128:].any()


def test_a_translation_says_where_the_first_voxel_lies(image):
    def change(content):
        for level, transformations in enumerate(data["coordinateTransformations"] for data in content["datasets"]):
            transformations.append({"type": "translation", "translation": [5.0 * level, 100.0, -30.0]})
        content["coordinateTransformations"] = [{"type": "scale", "scale": [2, 2, 2]}]

    edit(image, change)
    fine, coarse = opened(image).levels
    assert fine.first_voxel_angstrom == (0, 200, -60)
    assert coarse.first_voxel_angstrom == (10, 200, -60)
    store = zarr.storage.FSStore(str(image), mode="r", dimension_separator="/")
    true = open_pyramid(store, "image", voxel_size_angstrom=40.0).levels[0]  # the header says 20
    assert true.first_voxel_angstrom == (0, 400, -120)


def test_a_scale_that_contradicts_the_shapes_is_refused(image, refuses):
    edit(image, lambda content: content["datasets"][1]["coordinateTransformations"][0].update(scale=[40.0] * 3))
    assert opened(image).shape_voxel(0) == VOLUME.shape
    with refuses(SourceError, "denoised.zarr", "level 1 has 5 x 10 x 75", "40 A", "give 2 x 5 x 38", "choose level 0"):
        opened(image).shape_voxel(1)


@pytest.mark.parametrize("axes", ["c", "tc"])
def test_one_channel_and_one_time_point_are_a_tomogram(image, axes):
    shutil.rmtree(image / "0")
    group = zarr.open_group(zarr.DirectoryStore(str(image)), mode="a")
    first = (1,) * len(axes)
    group.create_dataset("0", data=VOLUME.reshape(first + VOLUME.shape), chunks=(*first, 9, 20, 100))

    def change(content):
        content["axes"] = [{"name": name} for name in axes] + content["axes"]
        for data in content["datasets"]:
            data["coordinateTransformations"][0]["scale"] = [*first, 10.0, 10.0, 10.0]

    edit(image, change)
    pyramid = opened(image)
    assert pyramid.shape_voxel(0) == VOLUME.shape
    assert pyramid.chunk_present(0).tolist() == [[[True, True]]]
    np.testing.assert_array_equal(pyramid.read(0), VOLUME)


def test_several_channels_and_unknown_codecs_are_refused(image, refuses):
    meta = json.loads((image / "0/.zarray").read_text())
    (image / "0/.zarray").write_text(json.dumps(meta | {"compressor": {"id": "unheard-of"}}))
    with refuses(SourceError, "denoised.zarr/0/.zarray", "unheard-of", "write the array with Blosc"):
        opened(image).read(0)
    more = {"shape": [2, *meta["shape"]], "chunks": [1, *meta["chunks"]]}
    (image / "0/.zarray").write_text(json.dumps(meta | more))
    with refuses(SourceError, "denoised.zarr", "level 0", "2 x 9 x 20 x 150", "one channel and one time point"):
        opened(image).read(0)
