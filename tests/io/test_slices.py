import numpy as np
import pytest

from frazil.core.errors import SourceError
from frazil.io import slices as module
from frazil.io.mrc import write_volume
from frazil.io.slices import read_slices


@pytest.fixture
def drawn() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (2, 3, 16, 16), dtype=np.uint8)


LABELS = np.array(["ribosome", "apo-ferritin"])


def test_an_archive_is_read_and_yz_turned_to_rows_of_z(tmp_path, drawn):
    path = tmp_path / "slices.npz"
    np.savez(path, slices=drawn, labels=LABELS)
    found = read_slices(path, voxel_size_angstrom=10.0)
    np.testing.assert_array_equal(found.slices[:, :2], drawn[:, :2])
    np.testing.assert_array_equal(found.slices[1, 2], drawn[1, 2].T)
    assert found.labels == ("ribosome", "apo-ferritin")
    np.savez(path, slices=drawn, labels=LABELS, voxel_size_angstrom=13.0)
    assert read_slices(path).voxel_size_angstrom == 13.0
    assert read_slices(path, voxel_size_angstrom=10.0).voxel_size_angstrom == 13.0


def test_a_folder_of_volumes_gives_their_central_slices(tmp_path, refuses):
    volumes = np.random.default_rng(0).standard_normal((2, 16, 16, 16)).astype(np.float32)
    for name, volume in zip(("ribosome-1", "thyroglobulin-1"), volumes, strict=True):
        write_volume(tmp_path / f"{name}.mrc", volume, 10.0)
    found = read_slices(tmp_path)
    assert found.labels == ("ribosome", "thyroglobulin")
    np.testing.assert_array_equal(found.slices[1], [volumes[1, 8], volumes[1, :, 8], volumes[1, :, :, 8]])
    write_volume(tmp_path / "ribosome-2.mrc", volumes[0], 12.0)
    with refuses(SourceError, "12 A", "10 A", "one size"):
        read_slices(tmp_path)
    write_volume(tmp_path / "ribosome-2.mrc", volumes[0][:12], 10.0)
    with refuses(SourceError, "ribosome-2.mrc", "(12, 16, 16)", "not a cube"):
        read_slices(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"slices": np.zeros((2, 3, 16, 16))}, ("labels", "it must be")),
        ({"slices": np.zeros((2, 3, 16)), "labels": LABELS}, ("(2, 3, 16)", "it must be")),
        ({"slices": np.zeros((2, 3, 16, 12)), "labels": LABELS}, ("(2, 3, 16, 12)", "(n, 3, N, N)")),
        ({"slices": np.zeros((2, 3, 16, 16)), "labels": np.array([1, 2])}, ("labels int64", "text")),
        ({"slices": np.zeros((2, 3, 16, 16), dtype=complex), "labels": LABELS}, ("complex128", "it must be")),
        ({"slices": np.full((2, 3, 16, 16), np.nan), "labels": LABELS}, ("NaN", "leave")),
        ({"slices": np.zeros((2, 3, 16, 16)), "labels": LABELS.astype(object)}, ("it must be",)),
    ],
)
def test_archives_of_something_else_are_refused(tmp_path, refuses, arrays, parts):
    path = tmp_path / "slices.npz"
    np.savez(path, **arrays)
    with refuses(SourceError, "slices.npz", *parts):
        read_slices(path, voxel_size_angstrom=10.0)


def test_what_is_no_archive_or_says_no_voxel_size_or_is_huge_is_refused(tmp_path, refuses, drawn, monkeypatch):
    path = tmp_path / "slices.npz"
    with refuses(SourceError, "no such file", "check the path"):
        read_slices(path)
    for content in (b"", b"PK\x03\x04 broken", b"text"):
        path.write_bytes(content)
        with refuses(SourceError, "slices.npz", "it must be an NPZ archive"):
            read_slices(path)
    np.savez(path, slices=drawn, labels=LABELS)
    with refuses(SourceError, "no voxel size", "pass the voxel size"):
        read_slices(path)
    monkeypatch.setitem(module._LARGEST_BYTES, "slices", 1000)
    with refuses(SourceError, "slices has more than", "fewer subtomograms"):
        read_slices(path, voxel_size_angstrom=10.0)
