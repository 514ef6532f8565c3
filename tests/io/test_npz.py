import io
import zipfile

import numpy as np
import pytest

from frazil.core.errors import SourceError
from frazil.io.npz import read_npz


def archive(path, damage=lambda content: content):
    stream = io.BytesIO()
    np.save(stream, np.arange(6.0).reshape(2, 3))
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("numbers.npy", damage(stream.getvalue()))
    return path


def test_arrays_come_back(tmp_path):
    read = read_npz(archive(tmp_path / "a.npz"), {"numbers": 1000}, remedy="write it again")
    np.testing.assert_array_equal(read["numbers"], np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"(2, 3)", b"(2, 3 "), (b"(2, 3)", b"(2,'3)"), (b"(2, 3)", b"(9, 9)"), (b"<f8", b"|O8"), (b"descr", b"dascr"), (b"{", b"\0")],
)  # fmt: skip
def test_a_damaged_header_is_one_line(tmp_path, refuses, old, new):
    file = archive(tmp_path / "a.npz", lambda content: content.replace(old, new))
    with refuses(SourceError, "a.npz", "damaged", "write it again"):
        read_npz(file, {"numbers": 1000}, remedy="write it again")
