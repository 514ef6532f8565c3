"""What a source of annotated tomograms can do, and how to open one."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from frazil.records import Picks, Tomogram, TomogramHeader


class Source(Protocol):
    """Annotated tomograms, whatever their format. Picks and headers are cheap; voxels are read one tomogram at a time."""

    path: Path
    kind: str

    def runs(self) -> list[str]:
        """Names of the runs, sorted."""
        ...

    def picks(self) -> list[Picks]:
        """All picks that pass the filters, sorted by run and label. Centres are NaN where a missing tomogram hides their scale."""
        ...

    def header(self, run: str) -> TomogramHeader:
        """Shape and voxel size of the run's tomogram. Raises SourceError where it is missing, naming what exists."""
        ...

    def read(self, run: str) -> Tomogram:
        """Read the run's tomogram once, whole. Raises SourceError where it cannot be read."""
        ...
