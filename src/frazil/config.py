"""Presets: settings as data, shipped in `frazil/configs` or written by the user as TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from frazil.errors import SettingsError
from frazil.settings import Preset


def preset_names() -> list[str]:
    """Return the names of the presets that frazil brings along."""
    return sorted(Path(entry.name).stem for entry in files("frazil.configs").iterdir() if entry.name.endswith(".toml"))


def load_preset(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Preset:
    """Load a preset and put single settings over it.

    Parameters
    ----------
    name_or_path : a name (`preset_names`), or the path of a TOML file of the same form; what it leaves out is default.
    overrides : dotted key to value, e.g. ``{"training.batch_size": 8}``.

    Raises
    ------
    SettingsError : no such preset, no TOML, an unknown key, or a value that is not allowed.
    """
    name, text = _read(str(name_or_path))
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name_or_path}: this is no TOML ({error}); correct the file") from None
    content.setdefault("name", name)
    for key, value in (overrides or {}).items():
        _put(content, key, value)
    try:
        return Preset.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"preset {name_or_path}: {_explain(error)}") from None


def _read(name_or_path: str) -> tuple[str, str]:
    """Return the name and the text of a preset."""
    if name_or_path in preset_names():
        return name_or_path, (files("frazil.configs") / f"{name_or_path}.toml").read_text(encoding="utf-8")
    path = Path(name_or_path)
    try:
        return path.stem, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        known = ", ".join(preset_names())
        raise SettingsError(
            f"preset {name_or_path}: neither a readable TOML file nor one of the presets: {known}"
        ) from None


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested tables."""
    *tables, last = key.split(".")
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise SettingsError(f"setting {key}: {table} is a single value, not a group of settings")
    content[last] = value


def _explain(error: ValidationError) -> str:
    """Say in one line which key has which value, and what is allowed."""
    faults = error.errors(include_url=False)
    fault = faults[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        parent = fault["loc"][:-1]
        message = f"{key} is not a setting; known here: {', '.join(_known(parent))}"
    else:
        value = "" if isinstance(fault["input"], dict) else f" = {fault['input']!r}"
        message = f"{key}{value}: {fault['msg'].removeprefix('Value error, ')}"
    return message if len(faults) == 1 else f"{message} (and {len(faults) - 1} more)"


def _known(path: tuple[int | str, ...]) -> list[str]:
    """Return the names of the settings in the group at `path`."""
    model: type[BaseModel] = Preset
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        assert isinstance(annotation, type)
        model = annotation
    return list(model.model_fields)
