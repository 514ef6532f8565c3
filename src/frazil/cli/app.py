"""The command line: parses and calls, nothing else. Heavy imports happen inside the commands."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial, wraps
from inspect import Parameter
from inspect import signature as signature_of
from io import TextIOWrapper
from shlex import join
from signal import SIGTERM, default_int_handler, signal
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from frazil.cli.calibrate import calibrate_command
from frazil.cli.complete import complete_command
from frazil.cli.compose import compose_command
from frazil.cli.contrast import contrast_command
from frazil.cli.curate import curate_command
from frazil.cli.distill import distill_command
from frazil.cli.evaluate import evaluate_command
from frazil.cli.export import export_command
from frazil.cli.figures import figures_command
from frazil.cli.filter import filter_command
from frazil.cli.import_weights import import_weights_command
from frazil.cli.preset import preset_app
from frazil.cli.prove import prove_command
from frazil.cli.report import report_command
from frazil.cli.sample import sample_command
from frazil.cli.simulate import simulate_command
from frazil.cli.train import train_command
from frazil.core.console import more_verbose, printable, quieter
from frazil.core.errors import FrazilError, SettingsError
from frazil.core.folder import unverified
from frazil.core.log import logged_command
from frazil.core.memory import own_process
from frazil.core.version import __version__

app = typer.Typer(
    name="frazil",
    help="Learn from annotated cryo-electron tomograms; generate realistic, labeled 3D particle volumes.",
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
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    no_verify: Annotated[
        bool,
        typer.Option("--no-verify", help="Do not check the files of a finished command."),
    ] = False,
) -> None:
    """Learn from annotated cryo-electron tomograms; generate realistic, labeled 3D particle volumes."""
    if no_verify:
        context.with_resource(unverified())


_printed = partial(typer.Option, rich_help_panel="What is printed")
Quiet = Annotated[bool, _printed("--quiet", help="Print only warnings and errors.")]
Verbose = Annotated[
    bool, _printed("--verbose", help="Print details too, as the log has them (frazil.log in the output folder).")
]
AsJson = Annotated[bool, _printed("--json", help="Print results as JSON.")]


def _printing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options to say less or more, and to say what it says as JSON."""

    @wraps(command)
    def run(*args: Any, quiet: bool, verbose: bool, as_json: bool, **options: Any) -> None:
        if quiet and verbose:
            raise SettingsError("quiet and verbose: contradict each other; choose one")
        with ExitStack() as printing:
            said = printing.enter_context(quieter(collect=as_json)) if quiet or as_json else {}
            if verbose:
                printing.enter_context(more_verbose())
            command(*args, **options)
        if as_json:
            typer.echo(json.dumps(said, indent=2, default=str))

    known = signature_of(command, eval_str=True)
    more = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("quiet", Quiet), ("verbose", Verbose), ("as_json", AsJson))
    ]
    run.__signature__ = known.replace(parameters=[*known.parameters.values(), *more])  # type: ignore[attr-defined]
    run.__annotations__ = {name: one.annotation for name, one in run.__signature__.parameters.items()}  # type: ignore[attr-defined]
    return run


class OutFirst(TyperCommand):
    """A command whose folder may also be its argument, as in frazil 0.1."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take an argument as ``--out``."""
        given, arguments, _ = self.make_parser(ctx).parse_args(list(args))
        if arguments and "out" not in given:
            args.remove(arguments[0])
            args = ["--out", arguments[0], *args]
        return super().parse_args(ctx, args)


# In the order of the work, which is also the order of the help.
app.command("simulate", cls=OutFirst)(_printing(simulate_command))
app.command("calibrate", cls=OutFirst)(_printing(calibrate_command))
app.command("curate")(_printing(curate_command))
app.command("train")(_printing(train_command))
app.command("distill")(_printing(distill_command))
app.command("import-weights")(_printing(import_weights_command))
app.command("sample")(_printing(sample_command))
app.command("complete")(_printing(complete_command))
app.command("compose")(_printing(compose_command))
app.command("contrast")(_printing(contrast_command))
app.command("export")(_printing(export_command))
app.command("figures")(_printing(figures_command))
app.command("evaluate")(_printing(evaluate_command))
app.command("filter")(_printing(filter_command))
app.command("prove")(_printing(prove_command))
app.command("report")(_printing(report_command))
app.add_typer(preset_app, name="preset")


def main() -> None:
    """Run the command line; an error that a user can fix ends in one line on standard error and exit code 2."""
    own_process()
    signal(SIGTERM, default_int_handler)  # what a batch system sends ends a command as Ctrl-C does
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names need not fit the terminal
    try:
        try:
            with logged_command(join(["frazil", *sys.argv[1:]])):
                app()
        finally:
            sys.stdout.flush()
    except FrazilError as error:
        _end(str(error), error.exit_code)
    except BaseException as fault:
        if _comes_from_interrupt(fault):
            typer.secho("frazil: rerun the same command to resume", fg="yellow", err=True)
            sys.exit(130)
        if _is_out_of_memory(fault):
            _end("not enough memory; ask for less at a time, or give it more, then rerun the same command to resume")
        if isinstance(fault, OSError):
            if fault.filename is not None:
                _end(f"{fault.filename}: {fault.strerror}; check the path and its permissions")
            with suppress(OSError):  # else Python complains once more when it closes the stream
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            _end(f"cannot write or read ({fault.strerror or fault}); check the disk, and where the output goes")
        raise


def _end(message: str, code: int = FrazilError.exit_code) -> NoReturn:
    """Say in one line what went wrong, and stop."""
    with suppress(OSError):
        typer.secho(f"frazil: {printable(message)}", fg="red", err=True)
    sys.exit(code)


def _is_out_of_memory(fault: BaseException) -> bool:
    """Return whether memory ran out; torch, and the loader of libraries, have no error of their own for it."""
    said = str(fault)
    return isinstance(fault, MemoryError) or (
        isinstance(fault, RuntimeError | ImportError | OSError)
        and any(
            sign in said
            for sign in (
                "can't allocate memory",
                "Cannot allocate memory",
                "failed to map segment",
                "can't start new thread",
            )
        )
    )


def _comes_from_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C started the chain of errors; Typer turns it into an exit with code 1."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
