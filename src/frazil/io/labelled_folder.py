"""Any folder of MRC volumes with a class each, whoever made them: so that other generators than ours can be judged.

The class of a file is, in this order:

1. what ``labels.csv`` in the folder says (columns ``file``, relative to the folder, and ``label``);
2. the name of the subfolder that it lies in;
3. what its name begins with: ``ribosome-00012.mrc`` or ``ribosome_12.mrc``;
4. for ``sample_3_class_5.mrc``, the class that the user gives number 5.

2 and 3 are asked in the order that gives a class which the real boxes have.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from frazil.core.errors import RequestError, SourceError
from frazil.core.files import write_text
from frazil.core.records import TomogramHeader, same_voxel_size
from frazil.io.cells import csv_text
from frazil.io.checks import clean_name, mrc_stem, refuse_unknown_voxel_size
from frazil.io.mrc import read_header
from frazil.io.tables import read_csv

LABELS_FILE = "labels.csv"
COLUMNS = ("file", "label")

_NUMBERED_CLASS = re.compile(r"(?:.*[-_])?class[-_]?(\d+)$", re.IGNORECASE)
_NUMBERED_FILE = re.compile(r"(.+?)[-_]+\d+$")


class LabelledFile(NamedTuple):
    """A volume, relative to its folder and with forward slashes, and its class."""

    file: str
    label: str


def parse_classes(text: str) -> dict[int, str]:
    """Read names for numbered classes: ``"0=ribosome,1=thyroglobulin"``, or the names alone, counted from 0."""
    classes: dict[int, str] = {}
    for place, part in enumerate(text.split(",")):
        number, equals, name = part.strip().partition("=")
        key, label = (number.strip(), name.strip()) if equals else (str(place), number.strip())
        if not key.isdecimal() or not label or int(key) in classes:
            raise RequestError(
                f"labels {text!r}: {part.strip()!r} does not name a class; give 0=NAME,1=NAME or all names in order"
            )
        classes[int(key)] = label
    return classes


def read_labelled_folder(
    folder: Path, *, classes: Mapping[int, str] | None = None, known_labels: Sequence[str] = ()
) -> list[LabelledFile]:
    """Find the MRC files of a folder and of its subfolders (one level), and the class of each; no voxels are read.

    `classes` names numbered classes; `known_labels` are those of the real boxes.
    """
    files = _find(folder)
    if (folder / LABELS_FILE).is_file():
        return _from_table(folder, files)
    return [LabelledFile(file, _label(folder, file, classes or {}, known_labels)) for file in files]


def common_cube(folder: Path, files: Sequence[str], voxel_size_angstrom: float | None) -> TomogramHeader:
    """Read the headers of volumes, check that all are cubes of one size, and return the first.

    `voxel_size_angstrom` is used instead of the headers'.
    """
    headers = [read_header(folder / file, voxel_size_angstrom) for file in files]
    first = headers[0]
    if voxel_size_angstrom is None:
        refuse_unknown_voxel_size(first)
    for header in headers:
        if len(set(header.shape_voxel)) > 1:
            raise SourceError(
                f"{header.origin}: {header.shape_voxel} (z, y, x) voxels are not a cube; cut boxes of equal edges around the "
                "particles"
            )
        same = same_voxel_size(header.voxel_size_angstrom, first.voxel_size_angstrom)
        if header.shape_voxel != first.shape_voxel or not same:
            raise SourceError(
                f"{header.origin}: {header.shape_voxel} voxels of {header.voxel_size_angstrom:g} A, but {first.origin} has "
                f"{first.shape_voxel} of {first.voxel_size_angstrom:g} A; take volumes of one size at a time"
            )
    return first


def write_labels(folder: Path, files: Sequence[LabelledFile]) -> None:
    """Write ``labels.csv``."""
    table = pd.DataFrame(files, columns=list(COLUMNS))
    write_text(folder / LABELS_FILE, csv_text(table))


def _find(folder: Path) -> list[str]:
    try:
        if not folder.is_dir():
            fault = "this is a file; name its folder" if folder.exists() else "no such folder; check the path"
            raise SourceError(f"{folder}: {fault}")
        for place in (folder, *(path for path in folder.iterdir() if path.is_dir())):
            if not os.access(place, os.R_OK | os.X_OK):  # its files would be overlooked
                raise SourceError(f"{place}: permission denied; make it readable")
        found = sorted(
            path.relative_to(folder).as_posix()
            for path in [*folder.glob("*"), *folder.glob("*/*")]
            if mrc_stem(path) is not None and path.is_file()
        )
    except OSError as fault:
        raise SourceError(f"{folder}: cannot be read ({fault.strerror}); check the path") from None
    if not found:
        raise SourceError(
            f"{folder}: no MRC files and no manifest.json; name a folder of frazil sample, a box store, or a folder of .mrc files"
        )
    return found


def _from_table(folder: Path, files: Sequence[str]) -> list[LabelledFile]:
    path = folder / LABELS_FILE
    table = read_csv(path, COLUMNS, SourceError)
    named = table.text("file")
    table.refuse(named.duplicated(), "file", "an earlier line names it too; keep one of them")
    missing = ~named.map(lambda file: (folder / file).is_file())
    table.refuse(missing, "file", "no such file in the folder; correct the name or remove the line")
    labels = dict(zip(named, table.text("label"), strict=True))
    if unlabelled := [file for file in files if file not in labels]:
        raise SourceError(
            f"{path}: no line for {len(unlabelled)} of {len(files)} MRC files, e.g. {unlabelled[0]}; add them, or move them away"
        )
    return [LabelledFile(file, label) for file, label in sorted(labels.items())]


def _label(folder: Path, file: str, classes: Mapping[int, str], known_labels: Sequence[str]) -> str:
    path = Path(file)
    stem = mrc_stem(path) or path.stem
    if numbered := _NUMBERED_CLASS.match(stem):
        return _numbered(folder / file, int(numbered.group(1)), classes, known_labels)
    start = _NUMBERED_FILE.match(stem)
    named = [name for name in (path.parent.name, start.group(1) if start else "") if name]
    known = {clean_name(label) for label in known_labels}
    named_and_known = [label for label in named if clean_name(label) in known]
    table = f"write {LABELS_FILE} with the columns {', '.join(COLUMNS)}"
    if len({clean_name(label) for label in named_and_known}) > 1:
        raise SourceError(f"{folder / file}: the folder says {named[0]}, the name {named[1]}; {table}")
    if not named:
        raise SourceError(
            f"{folder / file}: its name does not say its class; name it like ribosome-00001.mrc, put it into a folder ribosome, "
            f"or {table}"
        )
    return (named_and_known or named)[0]


def _numbered(path: Path, number: int, classes: Mapping[int, str], known_labels: Sequence[str]) -> str:
    if number in classes:
        return classes[number]
    if classes:
        named = ", ".join(f"{key}={label}" for key, label in sorted(classes.items()))
        raise SourceError(f"{path}: class {number} is not among the labels {named}; add {number}=NAME")
    example = ",".join(sorted(known_labels)) or "ribosome,thyroglobulin"
    raise SourceError(
        f"{path}: its class is the number {number}; pass the names of the classes from 0 up, e.g. labels {example}"
    )
