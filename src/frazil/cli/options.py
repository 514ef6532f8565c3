"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Any

import typer

from frazil.core.errors import SettingsError
from frazil.core.reading import parse_toml

source_option = partial(typer.Option, rich_help_panel="Which tomograms and picks")

_SOURCE_OPTIONS: dict[str, Any] = {
    "user": Annotated[list[str] | None, source_option(metavar="NAME", help="Only picks of this user; repeatable.")],
    "session": Annotated[
        list[str] | None, source_option(metavar="NAME", help="Only picks of this session; repeatable.")
    ],
    "label": Annotated[list[str] | None, source_option(metavar="NAME", help="Only this particle class; repeatable.")],
    "picks": Annotated[
        str | None,
        source_option(
            metavar="FILE", help="Table of the picks (CSV, STAR, .tbl, .em), if it is not next to the MRC files."
        ),
    ],
    "more_picks": Annotated[
        str | None,
        source_option(
            metavar="FILE", help="A table of picks beside its own, such as [bold]frazil complete[/bold] writes."
        ),
    ],
    "units": Annotated[
        str | None,
        source_option(metavar="UNIT", help="Coordinates in that file: voxel or angstrom, if it doesn't say so itself."),
    ],
    "match": Annotated[
        list[str] | None,
        source_option(
            metavar="TOMOGRAM=NAME",
            help="The picks call a tomogram NAME, which is not what its file is called; * stands for the same in both, e.g. "
            "'rec_*_bin4=TS_*'. Repeatable.",
        ),
    ],
    "min_score": Annotated[float | None, source_option(metavar="SCORE", help="Leave out picks with a lower score.")],
    "tomogram_type": Annotated[str | None, source_option(help="Tomogram type, e.g. denoised, if there are several.")],
    "voxel_spacing": Annotated[
        float | None, source_option(metavar="A", help="Voxel spacing folder, if there are several.")
    ],
    "level": Annotated[int | None, source_option(help="Resolution level of an OME-Zarr; 0 is the finest.")],
    "voxel_size": Annotated[
        float | None, source_option(metavar="A", help="Voxel size of the finest level, if the header is wrong.")
    ],
    "tilt_range": Annotated[
        str | None,
        source_option(metavar="LOWEST,HIGHEST", help="Tilt range in degrees, e.g. -45,45, if the source does not say."),
    ],
    "contrast": Annotated[
        str | None, source_option(metavar="SIGN", help="Protein in the tomograms: dark, or bright (inverted here).")
    ],
}
"""Options that choose tomograms and picks, in the order of the help."""

_NOT_LIKE = {"more_picks", "contrast"}
"""Those that mean nothing to a command with ``--like``, which reads no voxels."""

_FIELDS = {
    "user": "users", "session": "sessions", "label": "labels", "picks": "picks_file", "more_picks": "more_picks_file",
    "voxel_spacing": "voxel_spacing_angstrom", "voxel_size": "voxel_size_angstrom", "tilt_range": "tilt_range_degrees",
}  # fmt: skip
"""What `SourceSettings` calls them, where it is not the same."""

Setting = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override any setting of the preset; repeatable.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace existing output that was made with other settings.")]

_LONGEST_SECONDS = 366 * 86400.0

machine_option = partial(typer.Option, rich_help_panel="Cores and machines")

Workers = Annotated[int, machine_option(help="Processes on this machine, each with one item at a time.")]
Dask = Annotated[
    str | None,
    machine_option(
        metavar="ADDRESS", help="Use the workers of a Dask cluster: tcp://HOST:8786, or its scheduler file."
    ),
]
First = Annotated[int | None, machine_option(help="Start at this index, for a job array: --first 100 --count 50.")]


def takes_source(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that choose tomograms and picks, instead of its parameter `selection`, which gets what they say.

    An option that the command has of its own is not added; what ``--like`` is to be like has its ``--true-voxel-size``.
    """
    own = inspect.signature(command, eval_str=True).parameters
    like = "like" in own
    left_out = {*own} - {"voxel_size"} | (_NOT_LIKE if like else set())
    options = {name: option for name, option in _SOURCE_OPTIONS.items() if name not in left_out}
    names = {"true_voxel_size" if like and name == "voxel_size" else name: name for name in options}

    def with_source(**given: Any) -> None:
        selection = {_FIELDS.get(name, name): given.pop(asked) for asked, name in names.items()}
        if text := selection.get("tilt_range_degrees"):
            selection["tilt_range_degrees"] = parse_tilt_range(text)
        command(**given, selection=selection)

    parameters: list[inspect.Parameter] = []
    for parameter in own.values():
        parameters += (
            [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
            if parameter.name != "selection"
            else [
                inspect.Parameter(asked, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=options[name])
                for asked, name in names.items()
            ]
        )
    with_source.__doc__ = command.__doc__
    with_source.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_source.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_source


def parse_settings(
    assignments: Iterable[str] | None, *, example: str = "training.learning_rate=3e-4"
) -> dict[str, Any]:
    """Turn ``["model.base_channels=16"]`` into ``{"model.base_channels": 16}``; values are read as TOML, bare words as text."""
    settings: dict[str, Any] = {}
    for key, value in parse_pairs("--set", assignments, "key=value", example).items():
        try:
            settings[key] = parse_toml(f"value = {value}", "--set", SettingsError)["value"]
        except SettingsError:
            settings[key] = value
    return settings


def parse_pairs(option: str, texts: Iterable[str] | None, form: str, example: str) -> dict[str, str]:
    """Turn ``["ribosome=map.mrc"]`` into ``{"ribosome": "map.mrc"}``."""
    pairs = {}
    for text in texts or ():
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (key and equals and value):
            raise SettingsError(f"{option} {text}: not of the form {form}, e.g. {option} {example}")
        pairs[key] = value
    return pairs


def parse_duration(text: str) -> float:
    """Return seconds for a time limit: minutes, ``HH:MM:SS`` or ``DD:HH:MM:SS``."""
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    units = {1: (60.0,), 3: (3600.0, 60.0, 1.0), 4: (86400.0, 3600.0, 60.0, 1.0)}.get(len(parts), ())
    seconds = sum(part * unit for part, unit in zip(parts, units, strict=False)) if units else 0.0
    if not 0 < seconds <= _LONGEST_SECONDS or any(part < 0 for part in parts):
        raise SettingsError(
            f"--max-time {text}: not a time; give minutes, HH:MM:SS or DD:HH:MM:SS, e.g. 90 or 01:30:00"
        )
    return seconds


def parse_numbers(option: str, text: str, form: str, example: str) -> tuple[float, ...]:
    """Return as many numbers as `form` names, e.g. ``X,Y,Z``."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not all(map(math.isfinite, numbers)) or len(numbers) != len(form.split(",")):
        raise SettingsError(f"{option} {text}: not of the form {form}; use e.g. {example}")
    return numbers


def parse_tilt_range(text: str) -> tuple[float, float]:
    """Return lowest and highest tilt in degrees, ``LOWEST,HIGHEST``."""
    low, high = parse_numbers("--tilt-range", text, "LOWEST,HIGHEST", "-45,45")
    if not -90 <= low < high <= 90:
        raise SettingsError(f"--tilt-range {text}: not a range of tilts; give lowest and highest degrees, e.g. -45,45")
    return low, high


def parse_shape(option: str, text: str) -> tuple[int, int, int]:
    """Return the edges of a tomogram in voxels, ``Z,Y,X``."""
    z, y, x = parse_numbers(option, text, "Z,Y,X", "184,630,630")
    if any(edge < 1 or edge % 1 for edge in (z, y, x)):
        raise SettingsError(f"{option} {text}: not whole numbers above 0; use e.g. 184,630,630")
    return int(z), int(y), int(x)


def split_names(text: str | None) -> tuple[str, ...]:
    """Return names that are separated by commas; none where there is no text."""
    return tuple(name.strip() for name in text.split(",")) if text else ()
