"""Names that every format takes: copick forbids underscores, spaces and path characters in its names."""

from __future__ import annotations

import re

from frazil.core.errors import FrazilError

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\s_]+')


def clean_name(text: str) -> str:
    """Return `text` as copick would take it: forbidden characters become dashes.

    Examples
    --------
    >>> clean_name("beta_amylase")
    'beta-amylase'
    """
    return _FORBIDDEN.sub("-", text).strip("-")


def check_name(text: str, what: str, error: type[FrazilError]) -> str:
    """Return `text` if copick takes it as the name of a `what` (label, user, session, ...).

    Raises
    ------
    error : it is empty or holds an underscore, a space or a path character.
    """
    if not text or clean_name(text) != text:
        raise error(
            f"{what} {text!r} cannot be a copick name; use {clean_name(text) or 'a name'!r} (no underscores, "
            "spaces or slashes)"
        )
    return text


def check_run(text: str, error: type[FrazilError]) -> str:
    """Return `text` if it can be the folder of a run.

    Raises
    ------
    error : it is empty, starts with a dot, or holds a slash.
    """
    if not text or text.startswith(".") or "/" in text or "\\" in text:
        raise error(f"run {text!r} cannot be a folder; use a name without slashes that does not start with a dot")
    return text
