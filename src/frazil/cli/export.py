"""The command `frazil export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from frazil.cli import options
from frazil.core.errors import SettingsError


@options.takes_source
def export_command(
    source: Annotated[Path, typer.Argument(help="Annotated tomograms that frazil curate takes.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files.")],
    to: Annotated[
        str, typer.Option(metavar="TOOL", help="deepetpicker, deepfinder, nnunet, relion, tomotwin, or warp.")
    ],
    radius: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=A", help="Radius of a class, for masks, if the source does not say. Repeatable."),
    ] = None,
    force: options.Force = False,
    *,
    selection: dict[str, Any],
) -> None:
    """Write annotated tomograms as another program wants them: tomograms, masks, coordinates.

    If it is interrupted, rerun the same command to resume.
    """
    from frazil.dataset.run import source_settings
    from frazil.exporting.run import export

    radii = {}
    for name, text in options.parse_pairs("--radius", radius, "LABEL=ANGSTROM", "ribosome=150").items():
        (radii[name],) = options.parse_numbers("--radius", text, "A", "ribosome=150")
        if radii[name] <= 0:
            raise SettingsError(f"--radius {name}={text}: give a radius above 0")
    export(source, out, to=to, select=source_settings(**selection), radii_angstrom=radii, force=force)
