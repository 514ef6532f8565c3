"""How settings are written on a command line."""

from __future__ import annotations

from typing import Any


def split_numbers(value: Any) -> Any:
    """Split text such as ``64,256,256`` at its commas: settings read the same from a command line and a preset."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value
