"""Versioned JSON records, which describe every artifact, with one reader and one writer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from frazil.core.errors import FrazilError, SettingsError
from frazil.core.files import write_json
from frazil.core.reading import one_line, read_json
from frazil.core.settings import Settings
from frazil.core.version import __version__

_MOST_NAMED = 4
_DIGEST_LETTERS = 19  # "sha256:" and twelve more distinguish two digests


class Document(Settings):
    """Base of the JSON records that frazil writes.

    A subclass sets `schema_version` and `kind` by their defaults, and names the command that writes it.

    Parameters
    ----------
    schema_version : increased when the meaning of a field changes; newer records are refused.
    kind : type of record, e.g. ``frazil samples``.
    frazil_version : version that wrote it.
    """

    written_by: ClassVar[str]
    """Command that writes the record, for messages: ``frazil sample``."""

    remedy: ClassVar[str] = ""
    """What to do about a damaged record; empty: run the command again with --force."""

    schema_version: int
    kind: str
    frazil_version: str = __version__

    def write(self, path: Path) -> None:
        """Write the record, whole or not at all."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path, error: type[FrazilError]) -> Self:
        """Read and check a record; raise `error` for what is missing, damaged, of another kind or of a newer schema."""
        return cls.parse(read_json(path, error), path, error)

    @classmethod
    def parse(cls, content: Mapping[str, Any], path: Path, error: type[FrazilError]) -> Self:
        """Check the content of `path`; see `read`."""
        kind, newest = cls.model_fields["kind"].default, cls.model_fields["schema_version"].default
        if "kind" not in content and "frazil_version" in content:
            raise error(f"{path}: made by frazil 0.1; use a new folder")
        if content.get("kind") != kind:
            raise error(f"{path}: not a record of kind {kind!r}; name a folder that {cls.written_by} wrote")
        version = content.get("schema_version")
        if isinstance(version, int) and version > newest:
            raise error(f"{path}: schema version {version} was written by a newer frazil; upgrade frazil")
        try:
            return cls.model_validate(content)
        except (OverflowError, RecursionError, SettingsError) as fault:  # of a check beyond the types
            raise error(f"{path}: damaged ({one_line(fault)})") from None
        except ValidationError as fault:
            first = fault.errors(include_url=False)[0]
            where = "".join(f", {part}" if not number else f".{part}" for number, part in enumerate(first["loc"]))
            remedy = cls.remedy or f"run {cls.written_by} again with --force (in Python: force=True)"
            raise error(f"{path}: damaged{where}: {first['msg'].removeprefix('Value error, ')}; {remedy}") from None


def differences(old: Settings, new: Settings, free: Collection[str] = ()) -> list[str]:
    """Name the fields in which two records differ, each as ``field old -> new``.

    `free` holds dotted names of fields, or of groups of fields, that may differ.
    """
    before, after = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    skipped = {"schema_version", "kind", "frazil_version", *free}
    keys = [
        key
        for key in {**after, **before}
        if before.get(key) != after.get(key) and not any(key == name or key.startswith(f"{name}.") for name in skipped)
    ]
    named = [f"{key} {_short(before.get(key))} -> {_short(after.get(key))}" for key in keys[:_MOST_NAMED]]
    return named + ([f"and {len(keys) - _MOST_NAMED} more"] if len(keys) > _MOST_NAMED else [])


def _flat(content: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the values of nested tables by dotted key; tables in a list are keyed by label."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Sequence) and value and all(isinstance(entry, Mapping) for entry in value):
            value = {str(entry.get("label", number)): entry for number, entry in enumerate(value)}
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[above + key] = value
    return flat


def _short(value: Any) -> str:
    """Format a value as one would type it on a command line."""
    if value is None or value in ([], ()):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, (list, tuple)):
        return ",".join(_short(entry) for entry in value)
    text = str(value)
    return text[:_DIGEST_LETTERS] if text.startswith("sha256:") else text
