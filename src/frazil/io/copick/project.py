"""Writing a copick project: its configuration, tomograms, picks and segmentations. `frazil.io.copick.source` reads one.

copick's own writers are not used: they round the voxel size to the three decimals of the folder, leave out chunks of zeros
(which then read as not measured), compress in several threads, so that bytes vary, and are not atomic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frazil.core.errors import OutputError, PickError
from frazil.core.files import write_json
from frazil.core.folder import final_place
from frazil.core.records import Picks, TiltRange
from frazil.core.version import signature
from frazil.io.checks import check_name, check_run
from frazil.io.ome_zarr import write_pyramid

if TYPE_CHECKING:
    from jaxtyping import Float, Int64, Shaped

CONFIG_NAME = "copick.json"
CLASSES, INSTANCES = "classes", "instances"
"""Names of the masks that say which class, and which particle, each voxel is of."""

_CZII = {
    "apo-ferritin": ("GO:0070288", "4V1W", 0.0418),
    "beta-amylase": ("UniProtKB:P10537", "1FA2", 0.035),
    "beta-galactosidase": ("UniProtKB:P00722", "6X1Q", 0.0578),
    "ribosome": ("GO:0022626", "6EK0", 0.0374),
    "thyroglobulin": ("UniProtKB:P01267", "6SCJ", 0.0278),
    "virus-like-particle": ("GO:0170047", "6N4V", 0.201),
}
"""Identifier on the CryoET Data Portal (dataset 10440), PDB entry, and threshold of its map in the configuration of the challenge."""

_GOLDEN = (5**0.5 - 1) / 2  # its multiples spread over the color circle, however many there are


OBJECTS = "Objects"


def write_project_config(
    root: Path,
    *,
    name: str,
    labels_radius_angstrom: Mapping[str, float],
    map_thresholds: Mapping[str, float] | None = None,
    simulated: bool = False,
) -> Path:
    """Write ``root/copick.json``, which `copick.from_file` opens with `root` as its overlay.

    The number of a class in segmentations is its place in the sorted names, from 1; 0 is background. Each class has a color
    of its own, for viewers. `map_thresholds` are those of the maps that `write_object_map` wrote. `simulated` is said in the
    description.
    """
    objects = [
        {
            "name": check_name(label, "class", PickError),
            "is_particle": True,
            "label": number,
            "color": [*(round(255 * part) for part in hsv_to_rgb(number * _GOLDEN % 1, 0.7, 0.95)), 255],
            "radius": float(radius),
            **_known(label),
            **({"map_threshold": map_thresholds[label]} if map_thresholds and label in map_thresholds else {}),
        }
        for number, (label, radius) in enumerate(sorted(labels_radius_angstrom.items()), start=1)
    ]
    config = {
        "config_type": "filesystem",
        "name": name,
        "description": signature(simulated=simulated),
        "version": "1.0.0",
        "pickable_objects": objects,
        "overlay_root": f"local://{final_place(root).resolve()}",
        "overlay_fs_args": {"auto_mkdir": True},
    }
    path = root / CONFIG_NAME
    write_json(path, config)
    return path


def _known(label: str) -> dict[str, Any]:
    """Return what viewers and the data portal know of a class, if it is one of CZII."""
    return dict(zip(("identifier", "pdb_id", "map_threshold"), _CZII.get(label, ()), strict=False))


def octopi_targets(user: str) -> str:
    """Return where octopi looks for what it must know of the class masks of a user, relative to the project."""
    return f"logs/targets-{user}_0_{CLASSES}.yaml"


def write_octopi_targets(root: Path, labels: Iterable[str], *, user: str) -> Path:
    """Write the numbers of the classes in masks, so that ``octopi train --target-uri classes:USER/0`` learns from them."""
    numbers = {label: number for number, label in enumerate(sorted(labels), start=1)}
    targets = {label: {"user_id": user, "session_id": "0"} for label in numbers}
    path = root / octopi_targets(user)
    write_json(path, {"input": {"config": CONFIG_NAME, "labels": numbers, "targets": targets}})  # JSON is YAML
    return path


def write_object_map(
    root: Path,
    label: str,
    volume: Float[np.ndarray, "z y x"],
    voxel_size_angstrom: float,
    *,
    simulated: bool = False,
) -> float:
    """Write the map of a class, particles bright, and return a threshold for its surface: half of its mean density inside."""
    path = root / OBJECTS / f"{check_name(label, 'class', OutputError)}.zarr"
    write_pyramid(path, np.asarray(volume, dtype=np.float32), voxel_size_angstrom, simulated=simulated)
    return float(f"{volume[volume > volume.max() / 10].mean() / 2:.3g}")


def write_tomogram(
    root: Path,
    *,
    run: str,
    volume: Float[np.ndarray, "z y x"],
    voxel_size_angstrom: float,
    tomogram_type: str,
    levels: int = 1,
    tilt_range_degrees: TiltRange | None = None,
    simulated: bool = False,
) -> Path:
    """Write one tomogram as float32 OME-Zarr into the project's folder; see `write_pyramid`.

    `tomogram_type` is copick's name of the processing, e.g. ``denoised``.
    """
    check_run(run, OutputError)
    check_name(tomogram_type, "tomogram type", OutputError)
    path = _run_folder(root, run) / f"VoxelSpacing{voxel_size_angstrom:.3f}" / f"{tomogram_type}.zarr"
    return write_pyramid(
        path,
        np.asarray(volume, dtype=np.float32),
        voxel_size_angstrom,
        levels=levels,
        tilt_range_degrees=tilt_range_degrees,
        simulated=simulated,
    )


def write_picks(
    root: Path,
    picks: Picks,
    *,
    user: str,
    session: str = "0",
    instances: Int64[np.ndarray, "n"] | None = None,
) -> Path:
    """Write one pick file, replacing one of the same run, user, session and class.

    Where the orientation is not known, identities are written and ``trust_orientation`` is false. `instances` are the numbers of
    the particles in an instance mask; 0, copick's default, where there is none. JSON has no NaN, so picks must be finite.
    """
    check_run(picks.run, PickError)
    for text, what in ((user, "user"), (session, "session"), (picks.label, "class")):
        check_name(text, what, PickError)
    path = _run_folder(root, picks.run) / "Picks" / f"{user}_{session}_{picks.label}.json"
    finite = np.isfinite(picks.centers_angstrom).all(axis=1)
    if picks.rotations is not None:
        finite &= np.isfinite(picks.rotations).all(axis=(1, 2))
    if not finite.all():
        raise PickError(
            f"{path}: {int((~finite).sum())} of {len(picks)} picks are not finite; leave them out before writing"
        )
    transformations = np.tile(np.eye(4), (len(picks), 1, 1))
    if picks.rotations is not None:
        transformations[:, :3, :3] = picks.rotations[:, ::-1, ::-1]  # zyx -> xyz
    numbers = np.zeros(len(picks), dtype=np.int64) if instances is None else instances
    locations = picks.centers_angstrom.astype(np.float64)[:, ::-1]
    points = [
        {
            "location": dict(zip("xyz", location, strict=True)),
            "transformation_": transformation,
            "instance_id": number,
            "score": 1.0,
        }
        for location, transformation, number in zip(
            locations.tolist(), transformations.tolist(), numbers.tolist(), strict=True
        )
    ]
    content = {
        "pickable_object_name": picks.label,
        "user_id": user,
        "session_id": session,
        "run_name": picks.run,
        "voxel_spacing": None,
        "unit": "angstrom",
        "points": points,
        "trust_orientation": picks.rotations is not None,
    }
    write_json(path, content)
    return path


def write_segmentation(
    root: Path,
    *,
    run: str,
    volume: Shaped[np.ndarray, "z y x"],
    voxel_size_angstrom: float,
    name: str,
    user: str,
    simulated: bool = False,
) -> Path:
    """Write a volume of labels in the unsigned integer type it has; see `write_pyramid` and, for the numbers, `write_project_config`."""
    check_run(run, OutputError)
    check_name(user, "user", OutputError)
    check_name(name, "segmentation", OutputError)
    path = _run_folder(root, run) / "Segmentations" / f"{voxel_size_angstrom:.3f}_{user}_0_{name}-multilabel.zarr"
    return write_pyramid(path, volume, voxel_size_angstrom, simulated=simulated)


def _run_folder(root: Path, run: str) -> Path:
    return root / "ExperimentRuns" / run
