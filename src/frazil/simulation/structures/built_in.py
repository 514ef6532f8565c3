"""The built-in particles, from `built_in.toml`: the six species of the CZII phantom, and distractors."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from frazil.simulation.structures.grains import GrainModel, Lobe


def _models(table: Mapping[str, Mapping[str, Any]]) -> dict[str, GrainModel]:
    return {
        label: GrainModel(label=label, **{**entry, "lobes": tuple(map(_lobe, entry["lobes"]))})
        for label, entry in table.items()
    }


def _lobe(row: list[float]) -> Lobe:
    z, y, x, along_z, along_y, along_x, mass_density = row
    return Lobe((z, y, x), (along_z, along_y, along_x), mass_density)


def _filament(subunits: int) -> tuple[Lobe, ...]:
    """Return a piece of an actin filament: two lobes per subunit, 27.5 A and -166.6 degrees from one to the next."""
    found = []
    for i in range(subunits):
        along = 27.5 * (i - (subunits - 1) / 2)
        for shift, radius, twist in ((-8.0, 13.0, 0.0), (8.0, 27.0, 17.0)):
            angle = math.radians(-166.6 * i + twist)
            found.append(Lobe((along + shift, radius * math.sin(angle), radius * math.cos(angle)), (19.0, 19.0, 19.0)))
    return tuple(found)


_TABLES = tomllib.loads((files(__package__) / "built_in.toml").read_text(encoding="utf-8"))

PARTICLES = _models(_TABLES["particles"])
"""The species of the CZII phantom by label."""

DISTRACTORS = {
    "actin-filament": GrainModel("actin-filament", 115, 294, "C1", _filament(7), grain_spacing_angstrom=7.5),
    **_models(_TABLES["distractors"]),
}
"""Other proteins that crowd a lysate, by label; not annotated."""
