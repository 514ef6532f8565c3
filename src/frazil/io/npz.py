"""NPZ archives that anybody may have written: nothing pickled, and no array larger than it may be or than its file says."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from frazil.core.errors import SourceError
from frazil.core.reading import check_plain_file, one_line

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

HEADER_ERRORS = (ValueError, TypeError, SyntaxError, OverflowError, RecursionError, EOFError, tokenize.TokenError)
"""What NumPy raises over a damaged header of an array."""


def read_npz(
    path: Path, largest: Mapping[str, int], *, remedy: str, otherwise: int = 0
) -> dict[str, np.ndarray[Any, Any]]:
    """Read the arrays of an archive.

    Parameters
    ----------
    largest : the most bytes of an array, by name; those that it does not name may have `otherwise`, and are left out if that is 0.

    Raises
    ------
    SourceError : no such file, no such archive, or an array that is too large.
    """
    check_plain_file(path, SourceError)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                most = largest.get(name, otherwise)
                if not most:
                    continue
                with archive.open(entry) as stream:
                    shape, _, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
                size = math.prod(shape) * dtype.itemsize
                if max(size, entry.file_size) > most:
                    raise SourceError(f"{path}: {name} has more than {most >> 20} MB; take fewer subtomograms")
                if dtype.hasobject or size > entry.file_size:
                    raise ValueError(f"{name} is shorter than it says")
                with archive.open(entry) as stream:
                    arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
    except PermissionError:
        raise SourceError(f"{path}: permission denied; make it readable") from None
    except (*HEADER_ERRORS, OSError, KeyError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error) as fault:
        raise SourceError(f"{path}: damaged, not an NPZ archive ({one_line(fault)}); {remedy}") from None
    return arrays
