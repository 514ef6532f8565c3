"""Particle STAR files of RELION 5, and those with coordinates in pixels (RELION 3 and 4, Warp, M, pytom-match-pick).

Conventions. ``rlnCenteredCoordinate{X,Y,Z}Angst`` counts from the center of the tomogram at N/2 voxels (RELION's and
copick's convention, not the N/2 - 1 of some scripts). ``rlnCoordinate{X,Y,Z}`` counts from the first voxel, in pixels of
the size that the optics table or the particle gives. A particle's orientation is
``scipy.spatial.transform.Rotation.from_euler("ZYZ", [rot, tilt, psi]).inv()``, object -> tomogram, on xyz vectors.

The class of a particle is, in this order: the column ``frazilLabel`` (we write it; RELION keeps columns that it does
not know); ``<file>-class<rlnClassNumber>`` where a file holds several class numbers; the file's name without suffix,
because RELION users keep one STAR file a species. Where a file holds one tomogram and is named after it, the tomogram is no
part of the name of the class.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import starfile
from scipy.spatial.transform import Rotation

from frazil.core.errors import PickError
from frazil.core.files import write_text
from frazil.core.reading import one_line, read_bytes
from frazil.core.records import Picks, TomogramHeader
from frazil.core.settings import Units
from frazil.core.version import signature
from frazil.io.copick.picks import relion_rows_to_poses
from frazil.io.tables import TablePicks, center_angstrom, classes_of_file, clean_classes, in_groups

if TYPE_CHECKING:
    from jaxtyping import Float

LABEL = "frazilLabel"
PIXELS = tuple(f"rlnCoordinate{axis}" for axis in "XYZ")
CENTERED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_SUBTOMOGRAM_ANGLES = ("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi")
_SHIFTS = tuple(f"rlnOrigin{axis}Angst" for axis in "XYZ")
_PIXEL_SHIFTS = tuple(f"rlnOrigin{axis}" for axis in "XYZ")
_PIXEL_SIZES = ("rlnTomoTiltSeriesPixelSize", "rlnPixelSize", "rlnImagePixelSize")
_TOMOGRAMS = ("rlnTomoName", "rlnMicrographName")
_SCORES = ("rlnAutopickFigureOfMerit", "rlnLCCmax")
"""Of RELION, Warp and other pickers, and of pytom-match-pick."""

_TEXT = (LABEL, *_TOMOGRAMS, "rlnTomoParticleName", "rlnImageName")
_APOSTROPHE = "\ue000"


def is_particle_file(path: Path) -> bool:
    """Return whether a STAR file lists particles, and not tomograms, tilt series or optimization sets."""
    text = read_bytes(path, PickError).decode(errors="replace")
    return any(f"_{column}" in text for column in (*CENTERED, PIXELS[2]))


def read_particles(path: Path, units: Units | None = None) -> list[TablePicks]:
    """Read particles; one record per tomogram and class.

    ``rlnOrigin{X,Y,Z}Angst`` (``rlnOrigin{X,Y,Z}`` in pixels) and ``rlnTomoSubtomogram{Rot,Tilt,Psi}`` are applied as RELION
    does. Orientations are unknown (None) where there are no angles, or where all are zero. `units` is what coordinates in
    pixels are in, if the file does not say the size of a pixel, or not the right one.
    """
    optics, table = _particles(path)
    centered = set(CENTERED) <= set(table)
    for column in (*(CENTERED if centered else PIXELS), *ANGLES, *_SUBTOMOGRAM_ANGLES, *_SHIFTS, *_PIXEL_SHIFTS):
        if column in table:
            table[column] = _numbers(table[column], path)
    places = table[list(CENTERED if centered else PIXELS)].to_numpy(dtype=np.float64)
    unit: Literal["voxel", "angstrom", "centered"] = "centered" if centered else units or "angstrom"
    if not centered and units is None:
        pixels = _pixel_sizes(table, optics, path)[:, None]
        places = places * pixels
        if not set(_SHIFTS) & set(table) and set(_PIXEL_SHIFTS) <= set(table):
            table[list(_SHIFTS)] = table[list(_PIXEL_SHIFTS)].to_numpy(dtype=np.float64) * pixels
    rotations, shifts = relion_rows_to_poses(table)
    scores = next((_numbers(table[column], path).to_numpy() for column in _SCORES if column in table), None)
    tomograms = np.array([_restored(name) for name in table[_tomogram_column(table)]])
    labels = np.array(_labels(table, path, tomograms.tolist()))
    shifts = shifts[:, ::-1]  # xyz -> zyx
    places = places[:, ::-1] if unit == "voxel" else places[:, ::-1] - shifts  # both in angstrom
    return in_groups(
        tomograms,
        labels,
        places,
        str(path),
        unit,
        rotations=rotations,
        shifts_angstrom=shifts if unit == "voxel" else None,
        scores=scores,
    )


def _tomogram_column(table: pd.DataFrame) -> str:
    return next((column for column in _TOMOGRAMS if column in table), _TOMOGRAMS[0])


def _pixel_sizes(table: pd.DataFrame, optics: Any, path: Path) -> Float[np.ndarray, "n"]:
    """Return the size of a pixel for each particle, angstrom."""
    group = "rlnOpticsGroup"
    columns = pd.DataFrame([optics]) if isinstance(optics, dict) else optics
    if columns is not None and group in columns and group in table:
        table = table.merge(columns.drop_duplicates(group), on=group, how="left", suffixes=("", "_optics"))
    sizes = next((table[column] for column in _PIXEL_SIZES if column in table), None)
    if sizes is None and "rlnDetectorPixelSize" in table:  # micrometers over the magnification; without one, angstrom
        sizes = pd.to_numeric(table["rlnDetectorPixelSize"], errors="coerce")
        if "rlnMagnification" in table:
            sizes = sizes * 1e4 / pd.to_numeric(table["rlnMagnification"], errors="coerce")
    sizes = pd.to_numeric(pd.Series(dtype=float) if sizes is None else sizes, errors="coerce")
    if not len(sizes) or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise PickError(
            f"{path}: coordinates in pixels ({PIXELS[0]}), but the size of a pixel is not given in data_optics or by a column "
            f"{' or '.join(_PIXEL_SIZES)}; add it, or give the units: voxel (of the tomograms) or angstrom"
        )
    return sizes.to_numpy(dtype=np.float64)


def write_particles(
    path: Path,
    picks: Sequence[Picks],
    *,
    headers: Mapping[str, TomogramHeader],
    voxel_size_angstrom: float,
    box_size_voxel: int | None = None,
    image_names: Sequence[Sequence[str]] | None = None,
) -> None:
    """Write picks as RELION 5 particles with an optics table, whole or not at all.

    Classes are numbered by their sorted names from 1 (``rlnClassNumber``) and named in ``frazilLabel``. Angles are
    zeros, RELION's word for unknown, unless every class has orientations.

    Parameters
    ----------
    headers : tomogram of every run in `picks`; coordinates count from its center.
    voxel_size_angstrom, box_size_voxel : of the images; of the tomograms where there are none.
    image_names : MRC of every pick, as RELION should see it from the folder that it runs in; one list per member of
        `picks`. None where there are no images yet.
    """
    if not any(len(some) for some in picks):
        raise PickError(f"{path}: no picks to write; ask for at least one")
    if not all(np.isfinite(some.centers_angstrom).all() for some in picks):
        raise PickError(f"{path}: picks with centers that are not finite; leave them out")
    optics: dict[str, Any] = {
        "rlnOpticsGroup": 1,
        "rlnOpticsGroupName": "opticsGroup1",
        # RELION wants a microscope in every optics table
        "rlnVoltage": 300.0,
        "rlnSphericalAberration": 2.7,
        "rlnAmplitudeContrast": 0.07,
        "rlnTomoTiltSeriesPixelSize": voxel_size_angstrom,
        "rlnTomoSubtomogramBinning": 1.0,
    }
    if image_names is not None:
        optics |= {
            "rlnImagePixelSize": voxel_size_angstrom,
            "rlnImageDimensionality": 3,
            "rlnCtfDataAreCtfPremultiplied": 0,
            "rlnImageSize": box_size_voxel,
        }
    blocks = {
        "general": pd.DataFrame([{"rlnTomoSubTomosAre2DStacks": 0}]),
        "optics": pd.DataFrame([optics]),
        "particles": pd.DataFrame(_rows(picks, headers, image_names)),
    }
    # The first line of starfile tells the time, so no two files would be equal.
    _, _, body = starfile.to_string(blocks).partition("\n")
    write_text(path, f"# {signature()}\n{body}")


def write_pixel_particles(path: Path, picks: Sequence[Picks], *, headers: Mapping[str, TomogramHeader]) -> None:
    """Write picks in voxels of their tomograms from the first one, with orientations, as Warp and M take them.

    A tilt series is called ``<run>.tomostar``; a pixel is as large as a voxel, which Warp wants to be told (``--coords_angpix``).
    """
    rows = [
        {
            **dict(zip(PIXELS, place[::-1], strict=True)),  # zyx -> xyz
            **dict(zip(ANGLES, turns, strict=True)),
            "rlnMagnification": 10_000.0,
            "rlnDetectorPixelSize": headers[some.run].voxel_size_angstrom,
            "rlnMicrographName": f"{some.run}.tomostar",
            LABEL: some.label,
        }
        for some in picks
        for place, turns in zip(
            headers[some.run].to_voxel(some.centers_angstrom).tolist(),
            (np.zeros((len(some), 3)) if some.rotations is None else _angles(some.rotations)).tolist(),
            strict=True,
        )
    ]
    _, _, body = starfile.to_string({"": pd.DataFrame(rows)}).partition("\n")
    write_text(path, f"# {signature()}\n{body}")


def _rows(
    picks: Sequence[Picks], headers: Mapping[str, TomogramHeader], image_names: Sequence[Sequence[str]] | None
) -> list[dict[str, Any]]:
    classes = sorted({some.label for some in picks})
    oriented = all(some.rotations is not None for some in picks if len(some))
    counts: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for some, images in zip(picks, image_names or [[""] * len(some) for some in picks], strict=True):
        offsets = (some.centers_angstrom - center_angstrom(headers[some.run]))[:, ::-1]  # zyx -> xyz
        angles = _angles(some.rotations) if oriented and some.rotations is not None else np.zeros((len(some), 3))
        for offset, turns, image in zip(offsets.tolist(), angles.tolist(), images, strict=True):
            counts[some.run] += 1
            rows.append(
                {
                    "rlnTomoName": some.run,
                    "rlnTomoParticleName": f"{some.run}/{counts[some.run]}",
                    "rlnOpticsGroup": 1,
                    **dict(zip(CENTERED, offset, strict=True)),
                    **dict(zip(ANGLES, turns, strict=True)),
                    **({"rlnImageName": image} if image else {}),
                    "rlnClassNumber": classes.index(some.label) + 1,
                    LABEL: some.label,
                }
            )
    return rows


def _particles(path: Path) -> tuple[Any, pd.DataFrame]:
    """Return the optics, if there are any, and the table of particles."""
    try:
        blocks = _blocks(path)
    except PickError:
        raise
    except Exception as fault:  # starfile lets through whatever pandas and shlex raise on damaged text
        raise PickError(f"{path}: damaged, not a STAR file ({one_line(fault)}); export the particles again") from None
    if not blocks:
        raise PickError(f"{path}: no data blocks, so it is not a STAR file; export the particles again")
    others = [block for name, block in blocks.items() if name not in ("optics", "general")]
    table = blocks.get("particles", others[0] if len(others) == 1 else blocks.get(""))
    if isinstance(table, dict):  # a single particle needs no loop
        table = pd.DataFrame([table])
    if table is None or len(table) == 0:
        raise PickError(f"{path}: no rows in data_particles; export the particles again")
    missing = [] if set(PIXELS) <= set(table) else [column for column in CENTERED if column not in table]
    if _tomogram_column(table) not in table:
        missing.insert(0, " or ".join(_TOMOGRAMS))
    if missing:
        raise PickError(f"{path}: no column {', '.join(missing)} in data_particles; export the particles from RELION")
    return blocks.get("optics"), table


def _blocks(path: Path) -> dict[str, Any]:
    """Read a STAR file, also one that begins with a byte-order mark; apostrophes inside a name are `_APOSTROPHE`."""
    text = read_bytes(path, PickError).decode("utf-8-sig", errors="replace")
    tidy = re.sub(r"(?<=[^\s'\"])'(?=[^\s'\"])", _APOSTROPHE, text)
    with tempfile.NamedTemporaryFile("w", suffix=".star", encoding="utf-8") as copy:  # starfile reads nothing but files
        copy.write(tidy)
        copy.flush()
        blocks: dict[str, Any] = starfile.read(copy.name, always_dict=True, parse_as_string=list(_TEXT))
    return blocks


def _restored(name: Any) -> str:
    return str(name).replace(_APOSTROPHE, "'")


def _numbers(column: pd.Series[Any], path: Path) -> pd.Series[Any]:
    numbers = pd.to_numeric(column, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(dtype=np.float64))
    if bad.any():
        row = int(np.argmax(bad))
        raise PickError(
            f"{path}, particle {row + 1}, column {column.name}: {column.iloc[[row]].tolist()[0]!r}; a finite number is expected"
        )
    return numbers


def _labels(table: pd.DataFrame, path: Path, tomograms: Sequence[str]) -> list[str]:
    if LABEL in table:
        return clean_classes([_restored(value) for value in table[LABEL]], path)
    numbers = table["rlnClassNumber"].tolist() if "rlnClassNumber" in table else None
    return clean_classes(classes_of_file(path, tomograms, numbers), path)


def _angles(rotations: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3"]:
    with warnings.catch_warnings():
        # at tilt 0 only rot + psi counts; scipy sets one to 0
        warnings.filterwarnings("ignore", "Gimbal lock", UserWarning)
        angles = Rotation.from_matrix(rotations[:, ::-1, ::-1]).inv().as_euler("ZYZ", degrees=True)
    return np.asarray(angles, dtype=np.float64).reshape(-1, 3)
