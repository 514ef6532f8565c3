"""Text from the command line as values."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import Any

from frazil.core.errors import SettingsError


def parse_settings(assignments: Iterable[str], *, example: str = "training.learning_rate=3e-4") -> dict[str, Any]:
    """Turn ``["model.base_channels=16"]`` into ``{"model.base_channels": 16}``; values are read as TOML, bare words as text.

    Parameters
    ----------
    example : of an assignment, for the message.

    Raises
    ------
    SettingsError : no ``=`` in an assignment.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise SettingsError(f"--set {assignment}: not of the form key=value, e.g. --set {example}")
        try:
            settings[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            settings[key.strip()] = value.strip()
    return settings


def parse_duration(text: str) -> float:
    """Return seconds for a time limit: minutes, ``HH:MM:SS`` or ``DD:HH:MM:SS``.

    Raises
    ------
    SettingsError : anything else, or no time at all.
    """
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    units = {1: (60.0,), 3: (3600.0, 60.0, 1.0), 4: (86400.0, 3600.0, 60.0, 1.0)}.get(len(parts), ())
    seconds = sum(part * unit for part, unit in zip(parts, units, strict=False)) if units else 0.0
    if seconds <= 0 or any(part < 0 for part in parts):
        raise SettingsError(
            f"--max-time {text}: not a time; give minutes, HH:MM:SS or DD:HH:MM:SS, e.g. 90 or 01:30:00"
        )
    return seconds
