"""The command `frazil import-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frazil.cli.options import Force


def import_weights_command(
    checkpoint: Annotated[Path, typer.Argument(metavar="FILE.pt", help="Checkpoint from the paper's authors.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.")],
    voxel_size: Annotated[
        float | None, typer.Option(metavar="A", help="Voxel size of their boxes; 10.012444 for the CZII set.")
    ] = None,
    force: Force = False,
) -> None:
    """Convert a checkpoint from the paper's authors to a bundle, without running any code in it."""
    from frazil.model.authors import import_weights

    import_weights(checkpoint, out, voxel_size_angstrom=voxel_size, force=force)
