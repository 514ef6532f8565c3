"""RELION 5 particle STAR files.

Conventions. ``rlnCenteredCoordinate{X,Y,Z}Angst`` counts from the center of the tomogram at N/2 voxels (RELION's and
copick's convention, not the N/2 - 1 of some scripts). A particle's orientation is
``scipy.spatial.transform.Rotation.from_euler("ZYZ", [rot, tilt, psi]).inv()``, object -> tomogram, on xyz vectors.

The class of a particle is, in this order: the column ``frazilLabel`` (we write it; RELION keeps columns that it does
not know); ``<file>-class<rlnClassNumber>`` where a file holds several class numbers; the file's name without suffix,
because RELION users keep one STAR file a species.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import starfile
from scipy.spatial.transform import Rotation

from frazil.core.errors import PickError
from frazil.core.files import one_line, write_text
from frazil.core.records import Picks, TomogramHeader
from frazil.core.version import signature
from frazil.io.checks import clean_name
from frazil.io.copick.picks import known_rotations, relion_rows_to_poses
from frazil.io.tables import TablePicks, center_angstrom

if TYPE_CHECKING:
    from jaxtyping import Float

LABEL = "frazilLabel"
CENTERED = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_SUBTOMOGRAM_ANGLES = ("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi")
_SHIFTS = tuple(f"rlnOrigin{axis}Angst" for axis in "XYZ")
_PIXEL_SIZES = ("rlnTomoTiltSeriesPixelSize", "rlnImagePixelSize")
_TEXT = (LABEL, "rlnTomoName", "rlnTomoParticleName", "rlnImageName")


def is_particle_file(path: Path) -> bool:
    """Return whether a STAR file lists particles, and not tomograms, tilt series or optimization sets."""
    return any(f"_{column}" in path.read_text(encoding="utf-8", errors="replace") for column in CENTERED)


def read_particles(path: Path) -> list[TablePicks]:
    """Read particles; one record per tomogram and class.

    ``rlnOrigin{X,Y,Z}Angst`` and ``rlnTomoSubtomogram{Rot,Tilt,Psi}`` are applied as RELION does. Orientations are
    unknown (None) where there are no angles, or where all are zero.
    """
    table = _particles(path)
    for column in (*CENTERED, *ANGLES, *_SUBTOMOGRAM_ANGLES, *_SHIFTS):
        if column in table:
            table[column] = _numbers(table[column], path)
    rotations, shifts = relion_rows_to_poses(table)
    places = table[list(CENTERED)].to_numpy(dtype=np.float64) - shifts
    tomograms = np.array([str(name) for name in table["rlnTomoName"]])
    labels = np.array(_labels(table, path))
    records = []
    for tomogram, label in sorted(set(zip(tomograms.tolist(), labels.tolist(), strict=True))):
        rows = (tomograms == tomogram) & (labels == label)
        offsets = np.ascontiguousarray(places[rows][:, ::-1])  # xyz -> zyx
        turned = known_rotations(rotations[rows], str(path))
        records.append(TablePicks(tomogram, label, offsets, str(path), turned, centered=True))
    return records


def write_particles(
    path: Path,
    picks: Sequence[Picks],
    *,
    headers: Mapping[str, TomogramHeader],
    voxel_size_angstrom: float,
    box_size_voxel: int,
    image_names: Sequence[Sequence[str]],
) -> None:
    """Write picks as RELION 5 particles with an optics table, whole or not at all.

    Classes are numbered by their sorted names from 1 (``rlnClassNumber``) and named in ``frazilLabel``. Angles are
    written when every class has orientations.

    Parameters
    ----------
    headers : tomogram of every run in `picks`; coordinates count from its center.
    voxel_size_angstrom, box_size_voxel : of the images.
    image_names : MRC of every pick, as RELION should see it from the folder that it runs in; one list per member of
        `picks`.
    """
    if not any(len(some) for some in picks):
        raise PickError(f"{path}: no picks to write; ask for at least one")
    if not all(np.isfinite(some.centers_angstrom).all() for some in picks):
        raise PickError(f"{path}: picks with centers that are not finite; leave them out")
    optics = {
        "rlnOpticsGroup": 1,
        "rlnOpticsGroupName": "opticsGroup1",
        # RELION wants a microscope in every optics table
        "rlnVoltage": 300.0,
        "rlnSphericalAberration": 2.7,
        "rlnAmplitudeContrast": 0.07,
        "rlnTomoTiltSeriesPixelSize": voxel_size_angstrom,
        "rlnTomoSubtomogramBinning": 1.0,
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


def _rows(
    picks: Sequence[Picks], headers: Mapping[str, TomogramHeader], image_names: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    classes = sorted({some.label for some in picks})
    oriented = all(some.rotations is not None for some in picks if len(some))
    counts: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    for some, images in zip(picks, image_names, strict=True):
        offsets = (some.centers_angstrom - center_angstrom(headers[some.run]))[:, ::-1]  # zyx -> xyz
        angles = _angles(some.rotations) if oriented and some.rotations is not None else np.zeros((len(some), 0))
        for offset, turns, image in zip(offsets.tolist(), angles.tolist(), images, strict=True):
            counts[some.run] += 1
            rows.append(
                {
                    "rlnTomoName": some.run,
                    "rlnTomoParticleName": f"{some.run}/{counts[some.run]}",
                    "rlnOpticsGroup": 1,
                    **dict(zip(CENTERED, offset, strict=True)),
                    **dict(zip(ANGLES, turns, strict=False)),
                    "rlnImageName": image,
                    "rlnClassNumber": classes.index(some.label) + 1,
                    LABEL: some.label,
                }
            )
    return rows


def _particles(path: Path) -> pd.DataFrame:
    """The table of particles, after the checks that RELION 5 wrote it."""
    try:
        blocks: dict[str, Any] = starfile.read(path, always_dict=True, parse_as_string=list(_TEXT))
    except FileNotFoundError:
        raise PickError(f"{path}: no such file; check the path") from None
    except Exception as fault:  # starfile lets through whatever pandas and shlex raise on damaged text
        raise PickError(f"{path}: damaged, not a STAR file ({one_line(fault)}); export the particles again") from None
    if not blocks:
        raise PickError(f"{path}: no data blocks, so it is not a STAR file; export the particles again")
    optics, table = blocks.get("optics"), blocks.get("particles", blocks.get(""))
    if isinstance(table, dict):  # a single particle needs no loop
        table = pd.DataFrame([table])
    if table is None or len(table) == 0:
        raise PickError(f"{path}: no rows in data_particles; export the particles from RELION 5 again")
    if missing := [column for column in ("rlnTomoName", *CENTERED) if column not in table]:
        raise PickError(f"{path}: no column {', '.join(missing)} in data_particles; export the particles from RELION 5")
    if optics is None or not any(size in optics for size in _PIXEL_SIZES):
        raise PickError(
            f"{path}: no data_optics table with {' or '.join(_PIXEL_SIZES)}; keep the optics table when the "
            "particles are exported, or write one with relion_convert_star"
        )
    return table


def _numbers(column: pd.Series[Any], path: Path) -> pd.Series[Any]:
    numbers = pd.to_numeric(column, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(dtype=np.float64))
    if bad.any():
        row = int(np.argmax(bad))
        raise PickError(
            f"{path}, particle {row + 1}, column {column.name}: {column.iloc[[row]].tolist()[0]!r}; a finite number is expected"
        )
    return numbers


def _labels(table: pd.DataFrame, path: Path) -> list[str]:
    if LABEL in table:
        names = [str(value) for value in table[LABEL]]
    elif "rlnClassNumber" in table and table["rlnClassNumber"].nunique() > 1:
        names = [f"{path.stem}-class{value}" for value in table["rlnClassNumber"]]
    else:
        names = [path.stem] * len(table)
    labels = [clean_name(name) for name in names]
    if not all(labels):
        raise PickError(
            f"{path}, particle {labels.index('') + 1}: {names[labels.index('')]!r} is not a class name; use letters "
            "and digits"
        )
    return labels


def _angles(rotations: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3"]:
    with warnings.catch_warnings():
        # at tilt 0 only rot + psi counts; scipy sets one to 0
        warnings.filterwarnings("ignore", "Gimbal lock", UserWarning)
        angles = Rotation.from_matrix(rotations[:, ::-1, ::-1]).inv().as_euler("ZYZ", degrees=True)
    return np.asarray(angles, dtype=np.float64).reshape(-1, 3)
