"""Files that anybody may have written: plain files of limited size, and JSON and TOML of limited depth and sane numbers.

Whatever is wrong is the caller's kind of error, in one line. Schemas (`frazil.core.documents`) check the types.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from frazil.core.errors import FrazilError

LARGEST_BYTES = 256 << 20
"""Of a table or document, unless the reader says otherwise; in memory it takes several times as much."""

_DEEPEST = 100
_LOWEST_WHOLE, _HIGHEST_WHOLE = -(2**63), 2**64 - 1
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_REPAIR = "repair the file, or write it again"


def check_plain_file(path: Path, error: type[FrazilError], *, largest: int | None = None) -> int:
    """Return the bytes of a plain file; raise `error` for what is missing, a device, a pipe, a folder, or too large."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise error(f"{path}: no such file; check the path") from None
    except PermissionError:
        raise error(f"{path}: permission denied; make it readable") from None
    except (OSError, ValueError) as fault:  # ValueError: no path at all, such as one with a null character
        raise error(f"{path}: cannot be read ({one_line(fault)}); check the path") from None
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise error(f"{path}: cannot be read ({what}, not a file); check the path")
    if largest is not None and status.st_size > largest:
        raise error(
            f"{path}: {status.st_size >> 20} MB, more than the {largest >> 20} MB that are read; check the path"
        )
    return status.st_size


def read_bytes(path: Path, error: type[FrazilError], *, largest: int = LARGEST_BYTES) -> bytes:
    """Read a plain file; raise `error` where that is not possible."""
    size = check_plain_file(path, error, largest=largest)
    try:
        with path.open("rb") as stream:
            return stream.read(size)
    except PermissionError:
        raise error(f"{path}: permission denied; make it readable") from None
    except OSError as fault:
        raise error(f"{path}: cannot be read ({fault.strerror or one_line(fault)}); check the path") from None


def read_through(fs: Any, name: str, error: type[FrazilError], *, largest: int = LARGEST_BYTES) -> bytes:
    """Read a file of an fsspec file system; one of this machine must be a plain file. What is missing is a FileNotFoundError."""
    if not {"file", "local"} & {*([fs.protocol] if isinstance(fs.protocol, str) else fs.protocol)}:
        return bytes(fs.cat_file(name))
    if not os.path.lexists(name):
        raise FileNotFoundError(name)
    return read_bytes(Path(name), error, largest=largest)


def read_json(path: Path, error: type[FrazilError], *, largest: int = LARGEST_BYTES) -> dict[str, Any]:
    """Read a JSON file that holds an object; raise `error` if it cannot be read, or does not."""
    return parse_json(read_bytes(path, error, largest=largest), str(path), error)


def parse_json(content: bytes, origin: str, error: type[FrazilError], *, remedy: str = _REPAIR) -> dict[str, Any]:
    """Return the JSON object in the `content` of `origin`; `error` for anything else."""
    try:
        if len(content) > LARGEST_BYTES << 2:
            raise ValueError(f"{len(content) >> 20} MB")
        text = content.decode("utf-8")
        found = json.loads(text)
        _check(found)
        if _SURROGATE.search(text):  # half a character can be neither printed nor written
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as fault:  # not UTF-8, not JSON, nested without end, a number without end
        raise error(f"{origin}: damaged, not valid JSON ({one_line(fault)}); {remedy}") from None
    if not isinstance(found, dict):
        raise error(f"{origin}: damaged, holds a {type(found).__name__} instead of a JSON object; {remedy}")
    return found


def parse_toml(text: str, origin: str, error: type[FrazilError]) -> dict[str, Any]:
    """Return what a TOML text holds."""
    try:
        found = tomllib.loads(text)
        _check(found)
    except (ValueError, RecursionError) as fault:
        raise error(f"{origin}: not valid TOML ({one_line(fault)}); correct the file") from None
    return found


def one_line(fault: Exception) -> str:
    """Return the message of another library's error without line breaks."""
    return " ".join(str(fault).split())


def _check(content: Any) -> None:
    """Refuse what is nested too deep, and whole numbers that fit no integer."""
    level: list[Any] = [[content]]
    for _ in range(_DEEPEST):
        below = [item for one in level for item in (one.values() if type(one) is dict else one)]
        for item in below:
            if type(item) is int and not _LOWEST_WHOLE <= item <= _HIGHEST_WHOLE:
                raise ValueError("a whole number of more than 64 bits")
        level = [item for item in below if type(item) in (dict, list)]
        if not level:
            return
    raise ValueError(f"nested more than {_DEEPEST} deep")
