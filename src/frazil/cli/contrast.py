"""The command `frazil contrast`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def contrast_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle that takes layouts, or run folder.")],
    store: Annotated[Path, typer.Argument(help="Store of whole tomograms that it learned from.")],
    composed: Annotated[
        Path,
        typer.Argument(
            help="Project that it composed with [bold]--like[/bold] the project of the store, or with layouts as dense."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle that knows the contrasts.")],
) -> None:
    """Teach a bundle the contrast of its training tomograms.

    Composed tomograms are compared with those that the bundle learned from. Its next ones each get the power spectrum and the gray values
    of one of these.
    """
    from frazil.composition.contrast import contrast

    contrast(bundle, store, composed, out)
