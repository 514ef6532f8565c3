"""The command line: parses and calls, nothing else. Heavy imports happen inside the commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from frazil import __version__
from frazil.errors import FrazilError

app = typer.Typer(
    name="frazil",
    help="Learn from annotated cryo-electron tomograms; generate realistic, labelled 3D particle volumes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"frazil {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # noqa: ARG001 - the callback does the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Learn from annotated cryo-electron tomograms; generate realistic, labelled 3D particle volumes."""


# Commands stand below in the order of the work: simulate, curate, train, import-weights, sample, figures.


def main() -> None:
    """Run the command line; what a user caused ends in one line on standard error and exit code 2."""
    try:
        app(standalone_mode=True)
    except FrazilError as error:
        typer.secho(f"frazil: {error}", fg="red", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.secho("frazil: interrupted; run the same command again to continue", fg="yellow", err=True)
        sys.exit(130)
