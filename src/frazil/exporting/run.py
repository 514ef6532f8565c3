"""`frazil export`: annotated tomograms in, what another program trains on or takes picks from out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from frazil.core.console import progress_bar, say, warn
from frazil.core.documents import Document
from frazil.core.errors import MissingTomogramError, PickError, SettingsError
from frazil.core.files import text_digest
from frazil.core.folder import OutputFolder
from frazil.core.records import Picks, TomogramHeader
from frazil.core.settings import SourceSettings
from frazil.dataset.tables import CZII_DIAMETER_ANGSTROM
from frazil.exporting.tools import TOOLS, Exported
from frazil.io.sources import open_source


class ExportRecord(Document):
    """What an export holds: `frazil-export.json`. `digest` is of the picks and of the grids that they are in."""

    written_by: ClassVar[str] = "frazil export"

    schema_version: int = 1
    kind: Literal["frazil export"] = "frazil export"
    to: str
    labels: tuple[str, ...]
    radii_angstrom: dict[str, float]
    digest: str


def export(
    source: Path | str,
    out: Path | str,
    *,
    to: str,
    select: SourceSettings | None = None,
    radii_angstrom: Mapping[str, float] | None = None,
    force: bool = False,
) -> Path:
    """Write annotated tomograms as another program wants them. Called again, it resumes, or finds that nothing is left to do.

    Parameters
    ----------
    source : whatever `frazil.curate` takes.
    out : folder for the files.
    to : ``deepetpicker``, ``deepfinder``, ``nnunet``, ``relion``, ``tomotwin`` or ``warp``.
    select : which tomograms and picks to take; None takes all, where there is only one choice.
    radii_angstrom : of classes, for the masks that DeepFinder and nnU-Net learn from; None takes those of the source.
    force : replace an earlier export of something else.

    Raises
    ------
    SettingsError : no such program, or a class without a radius.
    SourceError, PickError : tomograms or picks cannot be read.
    OutputError : `out` holds something else, or cannot be written.
    """
    if to not in TOOLS:
        raise SettingsError(f"to {to}: not known; choose from {', '.join(TOOLS)}")
    tool = TOOLS[to]
    opened = open_source(Path(source), select or SourceSettings())
    picks = [some for some in opened.picks() if len(some)]
    headers: dict[str, TomogramHeader] = {}
    for run in sorted({some.run for some in picks}):
        try:
            headers[run] = opened.header(run)
        except MissingTomogramError as error:
            warn(f"{run} is left out: {error}")
    picks = [some for some in picks if some.run in headers]
    if not picks:
        raise PickError(f"{opened.path}: no picks in a tomogram that is there; check the path")
    labels = tuple(sorted({some.label for some in picks}))
    radii = opened.radii_angstrom() | dict(radii_angstrom or {})
    radii = {label: radius for label in labels if (radius := radii.get(label, _czii_radius(label)))}
    if tool.needs_radii and (unknown := [label for label in labels if label not in radii]):
        raise SettingsError(
            f"radius of {', '.join(unknown)}: not known; give it, e.g. radius {unknown[0]}=100, in angstrom"
        )
    record = ExportRecord(
        to=to, labels=labels, radii_angstrom=radii if tool.needs_radii else {}, digest=_digest(picks, headers)
    )
    owns = tuple(
        {name.replace("{run}", "*") for name in tool.files}
        | {"*.star", "*.xml", "*.coords", "*/*.coords", "dataset.json", "classes.txt"}
    )
    folder = OutputFolder(Path(out), "frazil-export.json", ExportRecord, owns)
    with folder.held():
        work, _ = folder.begin(record, force=force)
        lost = set(work.check())
        exported = Exported(work.path, picks, headers, labels, record.radii_angstrom)
        left = [
            run
            for run in headers
            if any(not (work.path / name.format(run=run)).exists() or name in lost for name in tool.files)
        ]
        with progress_bar() as bar:
            task = bar.add_task("exporting", total=len(headers), completed=len(headers) - len(left))
            for run in left:
                tool.write_run(exported, opened.read(run))
                bar.advance(task)
        tool.write_tables(exported)
        path = work.finish()
    particles = sum(map(len, picks))
    say(f"wrote {path}: {particles:,} particles of {len(labels)} classes in {len(headers)} tomograms, for {to}")
    return path


def _czii_radius(label: str) -> float:
    return CZII_DIAMETER_ANGSTROM.get(label, 0.0) / 2


def _digest(picks: list[Picks], headers: Mapping[str, TomogramHeader]) -> str:
    parts = [f"{header.run} {header.shape_voxel} {header.voxel_size_angstrom!r}" for header in headers.values()]
    for some in picks:
        rotations = None if some.rotations is None else some.rotations.tolist()
        parts.append(f"{some.run} {some.label} {some.centers_angstrom.tolist()} {rotations}")
    return text_digest("\n".join(parts))
