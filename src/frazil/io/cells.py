"""Cells of CSV tables that a spreadsheet would take for formulas."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV, without formulas: a spreadsheet would run text that begins with one of ``=+-@``.

    Such text gets an apostrophe in front, which spreadsheets do not show and `without_apostrophes` takes away.
    """
    safe = table.copy()
    for name in table.select_dtypes(exclude=["number", "bool"]):
        safe[name] = [f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell for cell in table[name]]
    return safe.to_csv(index=False, lineterminator="\n")


def without_apostrophes(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return text as it was before `csv_text`."""
    return column.str.replace(r"^'(?='*[=+\-@\t\r])", "", regex=True)
