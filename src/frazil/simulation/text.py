"""Numbers as they are written on a command line: ``64,256,256``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator


def split_numbers(value: Any) -> Any:
    """Split text such as ``64,256,256`` at its commas; anything else stays as it is."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def joined(numbers: Sequence[float]) -> str:
    """Write numbers as they are given on a command line."""
    return ",".join(f"{number:g}" for number in numbers)


Pair = Annotated[tuple[float, float], BeforeValidator(split_numbers)]
Shape = Annotated[tuple[int, int, int], BeforeValidator(split_numbers)]
