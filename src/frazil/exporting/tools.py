"""What each program wants: where its tomograms and labels lie, and its tables of particles.

Formats are those that can be checked: by the reader of the program (DeepFinder's `objl.read`, nnU-Net's `NibabelIO`), by its
code (DeepETPicker's `coords2labels.py`, TomoTwin's `extractref`), or by its documentation (RELION 5, Warp and M).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from jaxtyping import UInt8

from frazil.core.files import write_json, write_text
from frazil.core.records import Picks, Tomogram, TomogramHeader
from frazil.io.mrc import write_volume
from frazil.io.nifti import write_nifti
from frazil.io.star import write_particles, write_pixel_particles


@dataclass(frozen=True)
class Exported:
    """All that is exported, and where: picks of tomograms that are there, classes in the order of their numbers from 1.

    `radii_angstrom` holds the radii of all classes where the program wants masks, else nothing.
    """

    out: Path
    picks: Sequence[Picks]
    headers: Mapping[str, TomogramHeader]
    labels: Sequence[str]
    radii_angstrom: Mapping[str, float]

    def of_run(self, run: str) -> list[tuple[int, str, np.ndarray]]:
        """Return number, class and centers (zyx, voxels) of the picks of a run."""
        return [
            (self.labels.index(some.label) + 1, some.label, self.headers[run].to_voxel(some.centers_angstrom))
            for some in self.picks
            if some.run == run
        ]

    def mask(self, run: str) -> UInt8[np.ndarray, "z y x"]:
        """Return the number of the class in a sphere around each pick, 0 elsewhere."""
        header = self.headers[run]
        mask = np.zeros(header.shape_voxel, dtype=np.uint8)
        for number, label, centers in self.of_run(run):
            radius = self.radii_angstrom[label] / header.voxel_size_angstrom
            for center in centers:
                lowest = np.maximum(np.ceil(center - radius), 0).astype(int)
                highest = np.minimum(np.floor(center + radius) + 1, header.shape_voxel).astype(int)
                axes = [np.arange(low, high) - at for low, high, at in zip(lowest, highest, center, strict=True)]
                inside = (
                    axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2 <= radius**2  # zyx
                )
                mask[tuple(map(slice, lowest, highest))][inside] = number
        return mask


@dataclass(frozen=True)
class Tool:
    """How a program wants it.

    Parameters
    ----------
    needs_radii : it learns from masks.
    files : of a run, relative to the folder; ``{run}`` is its name. None where it has tomograms of its own.
    write_run : writes `files`.
    write_tables : writes what is about all runs.
    """

    needs_radii: bool
    files: tuple[str, ...]
    write_run: Callable[[Exported, Tomogram], None]
    write_tables: Callable[[Exported], None]


def _nothing(*_: object) -> None:
    pass


def _write_tomogram(path: Path, tomogram: Tomogram) -> None:
    header = tomogram.header
    write_volume(path, tomogram.volume, header.voxel_size_angstrom, simulated=header.simulated)


def _write_deepfinder_run(exported: Exported, tomogram: Tomogram) -> None:
    run, voxel_size = tomogram.header.run, tomogram.header.voxel_size_angstrom
    write_volume(exported.out / "targets" / f"{run}.mrc", exported.mask(run), voxel_size)
    _write_tomogram(exported.out / "tomograms" / f"{run}.mrc", tomogram)


def _write_deepfinder_tables(exported: Exported) -> None:
    """Write the object list. Tomograms are numbered in the order of their names, as DeepFinder is to be given them."""
    objects = Element("objlist")
    for index, run in enumerate(exported.headers):
        for number, _, centers in exported.of_run(run):
            for center in centers:
                place = {axis: f"{value:.3f}" for axis, value in zip("zyx", center, strict=True)}
                SubElement(objects, "object", {"tomo_idx": str(index), "class_label": str(number), **place})
    indent(objects)
    write_text(exported.out / "objects.xml", tostring(objects, encoding="unicode") + "\n")
    _write_classes(exported)


def _write_nnunet_run(exported: Exported, tomogram: Tomogram) -> None:
    run, voxel_size = tomogram.header.run, tomogram.header.voxel_size_angstrom
    write_nifti(exported.out / "labelsTr" / f"{run}.nii.gz", exported.mask(run), voxel_size)
    write_nifti(exported.out / "imagesTr" / f"{run}_0000.nii.gz", tomogram.volume, voxel_size)


def _write_nnunet_tables(exported: Exported) -> None:
    content = {
        "channel_names": {"0": "tomogram"},
        "labels": {"background": 0} | {label: number for number, label in enumerate(exported.labels, start=1)},
        "numTraining": len(exported.headers),
        "file_ending": ".nii.gz",
    }
    write_json(exported.out / "dataset.json", content)


def _write_deepetpicker_run(exported: Exported, tomogram: Tomogram) -> None:
    run = tomogram.header.run
    lines = [
        "\t".join(map(str, (number, *np.rint(center[::-1]).astype(int).tolist())))
        for number, _, centers in exported.of_run(run)
        for center in centers
    ]
    write_text(exported.out / f"{run}.coords", "\n".join(lines) + "\n")
    _write_tomogram(exported.out / f"{run}.mrc", tomogram)


def _write_tomotwin_run(exported: Exported, tomogram: Tomogram) -> None:
    _write_tomogram(exported.out / f"{tomogram.header.run}.mrc", tomogram)


def _write_tomotwin_tables(exported: Exported) -> None:
    """Write the places that references are extracted at, in whole voxels: TomoTwin cuts off what follows the point."""
    for run in exported.headers:
        for _, label, centers in exported.of_run(run):
            lines = [" ".join(map(str, place)) + "\n" for place in np.rint(centers[:, ::-1]).astype(int).tolist()]
            write_text(exported.out / run / f"{label}.coords", "".join(lines))


def _write_classes(exported: Exported) -> None:
    lines = [f"{number}\t{label}\n" for number, label in enumerate(exported.labels, start=1)]
    write_text(exported.out / "classes.txt", "".join(lines))


def _of_class(exported: Exported, label: str) -> list[Picks]:
    return [some for some in exported.picks if some.label == label and len(some)]


def _write_relion_tables(exported: Exported) -> None:
    for label in exported.labels:
        picks = _of_class(exported, label)
        voxel_size = exported.headers[picks[0].run].voxel_size_angstrom
        write_particles(exported.out / f"{label}.star", picks, headers=exported.headers, voxel_size_angstrom=voxel_size)


def _write_warp_tables(exported: Exported) -> None:
    for label in exported.labels:
        write_pixel_particles(exported.out / f"{label}.star", _of_class(exported, label), headers=exported.headers)


TOOLS = {
    "deepetpicker": Tool(False, ("{run}.mrc", "{run}.coords"), _write_deepetpicker_run, _write_classes),
    "deepfinder": Tool(
        True, ("tomograms/{run}.mrc", "targets/{run}.mrc"), _write_deepfinder_run, _write_deepfinder_tables
    ),
    "nnunet": Tool(
        True, ("imagesTr/{run}_0000.nii.gz", "labelsTr/{run}.nii.gz"), _write_nnunet_run, _write_nnunet_tables
    ),
    "relion": Tool(False, (), _nothing, _write_relion_tables),
    "tomotwin": Tool(False, ("{run}.mrc",), _write_tomotwin_run, _write_tomotwin_tables),
    "warp": Tool(False, (), _nothing, _write_warp_tables),
}
