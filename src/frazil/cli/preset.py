"""The command `frazil preset`."""

from __future__ import annotations

from typing import Annotated

import typer

preset_app = typer.Typer(no_args_is_help=True, help="Look at presets.")


@preset_app.callback()
def _group() -> None:
    """Look at presets."""


@preset_app.command("show")
def show_command(
    name: Annotated[
        str, typer.Argument(help="paper, fast, layout, smoke (training), czii, small (simulation), or a TOML file.")
    ],
) -> None:
    """Print all settings of a preset as TOML: a start for a preset of your own."""
    import tomli_w

    from frazil.core.errors import SettingsError
    from frazil.core.presets import load_preset
    from frazil.core.settings import Settings
    from frazil.simulation.preset import load_simulation_preset

    try:
        preset: Settings = load_preset(name)
    except SettingsError as error:
        try:
            preset = load_simulation_preset(name)
        except SettingsError as other:  # "specimen is not a setting" of a training, so it is a simulation's
            if "neither a preset" in str(error):
                raise SettingsError(f"{error}, {str(other).rpartition(' are ')[2]}") from None
            raise (other if "specimen" in str(error) else error) from None
    typer.echo(tomli_w.dumps(preset.model_dump(mode="json", exclude={"name"}, exclude_none=True)), nl=False)
