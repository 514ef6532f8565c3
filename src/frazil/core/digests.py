"""Digests of files and texts: ``sha256:<hex>``."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path


def file_digest(path: Path) -> str:
    """Return ``sha256:<hex>`` of the file's bytes."""
    if path.exists() and not path.is_file():  # a pipe would wait, a device never end
        raise OSError(errno.EINVAL, "a pipe, a device or a folder, not a file", str(path))
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def text_digest(text: str) -> str:
    """Return ``sha256:<hex>`` of `text` in UTF-8."""
    return bytes_digest(text.encode())


def bytes_digest(content: bytes | memoryview) -> str:
    """Return ``sha256:<hex>`` of `content`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
