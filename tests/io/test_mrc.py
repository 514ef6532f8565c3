import bz2
import gzip
import struct

import mrcfile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from frazil.core.errors import SourceError
from frazil.io.mrc import read_header, read_volume, write_volume

VOLUME = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)


@given(
    volume=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
    voxel_size=st.floats(0.5, 100),
)
def test_what_is_written_is_read(tmp_path, volume, voxel_size):
    path = tmp_path / "volume.mrc"
    write_volume(path, volume, voxel_size)
    header = read_header(path)
    assert header.run == "volume"
    assert header.shape_voxel == volume.shape
    assert header.voxel_size_angstrom == pytest.approx(voxel_size, rel=1e-6)
    back = read_volume(path)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, volume)


def test_the_header_is_what_chimerax_and_relion_expect(tmp_path, capsys):
    path = tmp_path / "volume.mrc"
    write_volume(path, VOLUME, 10.0)
    assert mrcfile.validate(path)
    with mrcfile.open(path) as mrc:
        assert int(mrc.header.mode) == 2
        assert mrc.is_volume()
        assert mrc.header.cella.tolist() == (40.0, 30.0, 20.0)
        assert (int(mrc.header.nxstart), int(mrc.header.nystart), int(mrc.header.nzstart)) == (0, 0, 0)
        assert mrc.header.origin.tolist() == (0.0, 0.0, 0.0)
        assert float(mrc.header.dmean) == pytest.approx(VOLUME.mean())


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    write_volume(tmp_path / "a.mrc", VOLUME, 10.0)
    write_volume(tmp_path / "b.mrc", VOLUME, 10.0)
    data = (tmp_path / "a.mrc").read_bytes()
    assert data == (tmp_path / "b.mrc").read_bytes()
    assert b"Written by frazil" in data
    write_volume(tmp_path / "c.mrc", VOLUME, 10.0, simulated=True)
    assert [read_header(tmp_path / name).simulated for name in ("a.mrc", "c.mrc")] == [False, True]


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16])
def test_integer_and_half_voxels_become_float32(tmp_path, dtype):
    path = tmp_path / "volume.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(VOLUME.astype(dtype))
        mrc.voxel_size = 7.5
    back = read_volume(path)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, VOLUME)


def test_a_file_without_the_map_mark_is_read(tmp_path):
    path = tmp_path / "old.mrc"
    write_volume(path, VOLUME, 10.0)
    data = bytearray(path.read_bytes())
    data[208:212] = b"\0\0\0\0"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_volume(path), VOLUME)
    assert read_header(path).voxel_size_angstrom == pytest.approx(10.0)


def test_big_endian_files_are_read(tmp_path):
    path = tmp_path / "big.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(VOLUME.astype(">f4"))
        mrc.voxel_size = 10.0
    np.testing.assert_array_equal(read_volume(path), VOLUME)


def poke(path, offset, data):
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(content)


BYTES = np.array([0, 1, 100, 127, 128, 200, 255, 3], dtype=np.uint8).reshape(2, 2, 2)


@pytest.mark.parametrize(
    ("stamp", "dmax", "signed"),
    [
        (None, 127, True),
        (None, 255, False),  # written before there were signed bytes
        (1, 127, True),
        (1, 255, True),  # IMOD says signed, whatever the maximum
        (0, 127, False),
    ],
)
@pytest.mark.parametrize("order", "<>")
def test_bytes_are_signed_unless_imod_or_the_maximum_says_otherwise(tmp_path, stamp, dmax, signed, order):
    path = tmp_path / "bytes.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(BYTES.view(np.int8))
        mrc.voxel_size = 10.0
        header = mrc.header.copy()
    if order == ">":
        path.write_bytes(header.byteswap().tobytes() + path.read_bytes()[1024:])
        poke(path, 212, b"\x11\x11\0\0")
    poke(path, 80, struct.pack(f"{order}f", dmax))
    if stamp is not None:
        poke(path, 152, struct.pack(f"{order}2i", 1146047817, stamp))
    expected = BYTES.view(np.int8) if signed else BYTES
    np.testing.assert_array_equal(read_volume(path), expected.astype(np.float32))


@pytest.mark.parametrize("name", ["a.mrc", "A.MRC", "a.rec", "a.map", "a.mrc.gz", "a.MRC.BZ2", "compressed.mrc"])
def test_other_suffixes_and_compressed_files_are_read(tmp_path, name):
    plain = tmp_path / "plain.mrc"
    write_volume(plain, VOLUME, 10.0)
    compress = (
        bz2.compress if name.endswith("BZ2") else gzip.compress if name[-3:] == ".gz" or "comp" in name else bytes
    )
    path = tmp_path / name
    path.write_bytes(compress(plain.read_bytes()))
    assert read_header(path).run == name.split(".")[0]
    assert read_header(path).shape_voxel == VOLUME.shape
    np.testing.assert_array_equal(read_volume(path), VOLUME)


def test_a_damaged_compressed_file_is_refused(tmp_path, refuses):
    path = tmp_path / "cut.mrc.gz"
    write_volume(tmp_path / "plain.mrc", VOLUME, 10.0)
    content = (tmp_path / "plain.mrc").read_bytes()
    path.write_bytes(gzip.compress(content)[:-20])
    with refuses(SourceError, "cut.mrc.gz", "copy the file again"):
        read_volume(path)
    path.write_bytes(gzip.compress(content[:-8]))
    with refuses(SourceError, "cut.mrc.gz", "1112 bytes of 1120", "copy the file again"):
        read_volume(path)


def test_an_extended_header_that_is_promised_and_not_there(tmp_path):
    path = tmp_path / "promised.mrc"
    write_volume(path, VOLUME, 10.0)
    poke(path, 92, struct.pack("<i", 57600))
    assert read_header(path).voxel_size_angstrom == pytest.approx(10.0)
    np.testing.assert_array_equal(read_volume(path), VOLUME)


def test_an_extended_header_is_skipped_and_a_grid_of_zeros_is_the_shape(tmp_path):
    path = tmp_path / "extended.mrc"
    write_volume(path, VOLUME, 10.0)
    content = path.read_bytes()
    path.write_bytes(content[:1024] + b"\7" * 80 + content[1024:])
    poke(path, 92, struct.pack("<i", 80))
    poke(path, 28, struct.pack("<3i", 0, 0, 0))
    assert read_header(path).voxel_size_angstrom == pytest.approx(10.0)
    np.testing.assert_array_equal(read_volume(path), VOLUME)


def test_a_truncated_file_is_refused(tmp_path, refuses):
    path = tmp_path / "cut.mrc"
    write_volume(path, VOLUME, 10.0)
    path.write_bytes(path.read_bytes()[:-1])
    for read in (read_header, read_volume):
        with refuses(SourceError, "cut.mrc", "1119 bytes of 1120", "copy the file again"):
            read(path)


def test_complex_voxels_are_refused(tmp_path, refuses):
    path = tmp_path / "fourier.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(VOLUME.astype(np.complex64))
        mrc.voxel_size = 10.0
    with refuses(SourceError, "fourier.mrc", "complex voxels (mode 4)", "float32"):
        read_volume(path)


@pytest.mark.parametrize("content", [b"", b"not an mrc", b"\x07" * 2000])
def test_what_is_no_mrc_is_refused(tmp_path, content, refuses):
    path = tmp_path / "notes.mrc"
    path.write_bytes(content)
    with refuses(SourceError, "notes.mrc"):
        read_header(path)


def test_a_missing_file_is_refused(tmp_path, refuses):
    with refuses(SourceError, "absent.mrc", "no such file"):
        read_volume(tmp_path / "absent.mrc")


def test_a_stack_of_volumes_and_turned_axes_are_refused(tmp_path, refuses):
    stack, turned = tmp_path / "stack.mrc", tmp_path / "turned.mrc"
    with mrcfile.new(stack) as mrc:
        mrc.set_data(np.stack([VOLUME, VOLUME]))
        mrc.voxel_size = 10.0
    with refuses(SourceError, "stack.mrc", "stack of volumes", "own file"):
        read_header(stack)
    write_volume(turned, VOLUME, 10.0)
    with mrcfile.open(turned, mode="r+") as mrc:
        mrc.header.mapc, mrc.header.maps = 3, 1
    with refuses(SourceError, "turned.mrc", "(3, 2, 1)", "fastest axis"):
        read_header(turned)


def test_a_voxel_size_of_zero_is_refused_unless_the_true_one_is_given(tmp_path, refuses):
    path = tmp_path / "zero.mrc"
    write_volume(path, VOLUME, 0.0)
    with refuses(SourceError, "zero.mrc", "0 x 0 x 0", "voxel size"):
        read_header(path)
    assert read_header(path, voxel_size_angstrom=10.012).voxel_size_angstrom == 10.012
    np.testing.assert_array_equal(read_volume(path), VOLUME)


def test_voxels_that_are_no_cubes_are_refused(tmp_path, refuses):
    path = tmp_path / "flat.mrc"
    write_volume(path, VOLUME, (10.0, 10.0, 10.02))
    with refuses(SourceError, "flat.mrc", "10.02 x 10 x 10", "resample"):
        read_header(path)


def test_nan_voxels_pass_unseen_through_reader_and_writer(tmp_path):
    volume = VOLUME.copy()
    volume[0, 0, 0] = np.nan
    write_volume(tmp_path / "nan.mrc", volume, 10.0)
    np.testing.assert_array_equal(read_volume(tmp_path / "nan.mrc"), volume)
