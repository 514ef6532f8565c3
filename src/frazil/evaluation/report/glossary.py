"""How to read each metric: the entries of `assets/glossary.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from frazil.evaluation.scores import Score


def entries(scores: Iterable[Score]) -> list[dict[str, Any]]:
    """Return what a reader of `scores` needs to know, in a fixed order: ``title``, ``text`` and, where known, ``source``."""
    asset = files("frazil.evaluation.report") / "assets" / "glossary.toml"
    names = {score.name for score in scores}
    return [
        entry
        for entry in tomllib.loads(asset.read_text(encoding="utf-8"))["entry"]
        if "starts" not in entry or any(name.startswith(tuple(entry["starts"])) for name in names)
    ]
