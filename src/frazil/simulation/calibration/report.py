"""What a calibration found: a record and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from frazil.core.documents import Document
from frazil.simulation.calibration.goals import Check

RECORD_FILE = "calibration.json"


class CalibrationRecord(Document):
    """`calibration.json`: what is fitted to what, and how well.

    Parameters
    ----------
    problem : everything that the search depends on.
    fitted : start and result of each number; empty before the search has ended.
    checks : the fields of `Check`, and whether it has passed.
    asked : name, evaluations and checks of the call that has ended.
    """

    written_by: ClassVar[str] = "frazil calibrate"

    schema_version: int = 2
    kind: str = "frazil calibration"
    problem: dict[str, Any]
    fitted: dict[str, dict[str, float]]
    checks: tuple[dict[str, Any], ...]
    asked: dict[str, Any] = Field(default_factory=dict)

    def results(self) -> list[Check]:
        """Return the checks."""
        return [Check(**{key: value for key, value in row.items() if key != "passed"}) for row in self.checks]


def checks_table(checks: Sequence[Check]) -> Table:
    """Return the checks as they are printed."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("simulated\nagainst real", no_wrap=True)
    for name in ("differ-\nence", "spread,\nseeds", "floor,\nreal", "toler-\nance", "ok"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, one in enumerate(checks):
        if number == 0 or one.goal != checks[number - 1].goal:
            table.add_row(f"[bold]{escape(one.goal)}")
        numbers = ["-" if number is None else f"{number:.2f}" for number in (one.difference, one.spread, one.floor)]
        table.add_row(escape(one.name), *numbers, f"{one.tolerance:.2f}", "yes" if one.passed else "NO")
    return table
