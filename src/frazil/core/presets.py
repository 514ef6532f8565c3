"""Presets: settings as TOML, bundled in `frazil/configs` or written by the user, for training and for simulation.

A preset may start with ``base = "<another preset>"`` and then holds only what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from frazil.core.errors import SettingsError
from frazil.core.reading import check_plain_file, parse_toml
from frazil.core.settings import Preset, Settings

AnyPreset = TypeVar("AnyPreset", bound=Settings)

_LARGEST_BYTES = 1 << 20
_LONGEST_VALUE = 200


def load_preset(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Preset:
    """Load a training preset, and override single settings.

    Parameters
    ----------
    name_or_path : a name, or the path of a TOML file of the same form; what it leaves out has its default.
    overrides : dotted key to value, e.g. ``{"training.batch_size": 8}``.

    Raises
    ------
    SettingsError : no such preset, not valid TOML, an unknown key, or a value that is not allowed.
    """
    return load_settings(Preset, files("frazil.configs"), str(name_or_path), overrides or {})


def load_settings(
    kind: type[AnyPreset], folder: Traversable, name_or_path: str, overrides: Mapping[str, Any]
) -> AnyPreset:
    """Load a preset of `kind` from `folder` (by name) or from a user's file; see `load_preset`."""
    return _overridden(kind, _content(folder, name_or_path, seen=()), overrides, name_or_path)


def override(preset: AnyPreset, overrides: Mapping[str, Any], name: str) -> AnyPreset:
    """Return a preset, called `name` in messages, with other values for single settings; see `load_preset`."""
    return _overridden(type(preset), preset.model_dump(), overrides, name)


def _overridden(kind: type[AnyPreset], content: dict[str, Any], overrides: Mapping[str, Any], name: str) -> AnyPreset:
    for key, value in overrides.items():
        _put(content, key, value)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"preset {name}: {explain(kind, error)}") from None


def names_in(folder: Traversable) -> list[str]:
    """Return the names of the presets in `folder`."""
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def _content(folder: Traversable, name_or_path: str, *, seen: tuple[str, ...]) -> dict[str, Any]:
    """Return what a preset says, merged over its base."""
    if name_or_path in seen:
        raise SettingsError(f"preset {name_or_path}: is its own base; remove base from one of {', '.join(seen)}")
    known, path = names_in(folder), Path(name_or_path)
    bundled = name_or_path in known
    try:
        if not bundled:
            check_plain_file(path, SettingsError, largest=_LARGEST_BYTES)
        text = (folder / f"{name_or_path}.toml" if bundled else path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, SettingsError):
        raise SettingsError(
            f"preset {name_or_path}: neither a preset nor a readable TOML file; the presets are {', '.join(known)}"
        ) from None
    content = parse_toml(text, name_or_path, SettingsError)
    if not content:
        raise SettingsError(f'{name_or_path}: empty; say what differs, e.g. after base = "{known[0]}"')
    name = {"name": name_or_path if bundled else path.stem}
    if not bundled:
        _find_structures_beside(content, path.parent)
    if "base" in content:
        base = str(content.pop("base"))
        if not bundled and base not in known:
            base = str(path.parent / base)
        return _merged(_content(folder, base, seen=(*seen, name_or_path)), name | content)
    return name | content


def _find_structures_beside(content: dict[str, Any], folder: Path) -> None:
    """Resolve the structure files of a user's preset relative to the preset."""
    specimen = content.get("specimen")
    structures = specimen.get("structures") if isinstance(specimen, dict) else None
    for entry in structures if isinstance(structures, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("source"), str):
            entry["source"] = str(folder / entry["source"])


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` overridden by `over`, table by table."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key in nested tables."""
    *tables, last = key.split(".")
    for table in tables:
        if content.get(table) is None:
            content[table] = {}
        content = content[table]
        if not isinstance(content, dict):
            raise SettingsError(f"setting {key}: {table} is a single value, not a group of settings")
    content[last] = value


def explain(kind: type[BaseModel], error: ValidationError) -> str:
    """Explain in one line which key has which value, and what is allowed."""
    faults = error.errors(include_url=False)
    fault = faults[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        message = f"{key} is not a setting; known here: {', '.join(_known(kind, fault['loc'][:-1]))}"
    elif fault["type"] == "missing" and isinstance(fault["input"], (tuple, list)):
        group, _, _ = key.rpartition(".")
        message = f"{group} = {','.join(map(str, fault['input']))}: too few numbers; add what is missing"
    else:
        value = "" if isinstance(fault["input"], dict) else f" = {repr(fault['input'])[:_LONGEST_VALUE]}"
        named = f"{key}{value}: " if key else ""  # a rule that spans groups belongs to none of them
        message = f"{named}{fault['msg'].removeprefix('Value error, ')}"
    return message if len(faults) == 1 else f"{message} (and {len(faults) - 1} more)"


def _known(kind: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the names of the settings in the group at `path`."""
    for part in path:
        if isinstance(part, str):
            annotation = kind.model_fields[part].annotation  # Group or tuple[Group, ...]
            candidates = (annotation, *get_args(annotation))
            kind = next(one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel))
    return list(kind.model_fields)
