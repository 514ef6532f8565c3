"""Annotated tomograms in copick's layout: a project by its configuration, or only the folders (CZII, Kaggle)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frazil.core.console import warn
from frazil.core.errors import (
    AmbiguousTomogramError,
    MissingMapError,
    MissingTomogramError,
    PickError,
    SourceError,
)
from frazil.core.reading import read_json
from frazil.core.records import Picks, Tomogram, TomogramHeader
from frazil.core.settings import SourceSettings
from frazil.core.version import SIMULATED_BY
from frazil.io.checks import UNKNOWN_ANGSTROM, best, refuse_picks_beyond_unit_voxels, select
from frazil.io.copick.picks import (
    CopickConfigFSSpec,
    CopickRootFSSpec,
    copick,
    pick_files,
    reading,
    take_folders_literally,
)
from frazil.io.ome_zarr import Pyramid, open_pyramid
from frazil.io.sources import Source

if TYPE_CHECKING:
    from jaxtyping import Bool

_SPACING_TOLERANCE = 5e-4
"""Folders give the voxel spacing with three decimals."""

RUNS = "ExperimentRuns"

_PROTOCOLS = {"", "local", "file", "s3", "ssh", "sftp", "https", "http", "smb"}
_RUNS_COMMANDS = {"proxy_command", "config", "protocol", "fo", "target_protocol", "client_factory"}


class CopickSource(Source):
    """A tree of `ExperimentRuns`, read through copick."""

    def __init__(self, path: Path, kind: str, root: Any, settings: SourceSettings) -> None:
        super().__init__(path, settings)
        self.kind = kind
        self._root = take_folders_literally(root)

    def runs(self) -> list[str]:
        """See `Source.runs`."""
        return sorted(self._runs)

    def picks(self) -> list[Picks]:
        """See `Source.picks`; also sorted by user and session."""
        return list(self._picks)

    def radii_angstrom(self) -> dict[str, float]:
        """See `Source.radii_angstrom`."""
        return {thing.name: float(thing.radius) for thing in self._root.config.pickable_objects if thing.radius}

    def header(self, run: str) -> TomogramHeader:
        """See `Source.header`; of the chosen level."""
        return self._header(run, self._pyramid(run))

    def _read(self, run: str, planes: slice) -> Tomogram:
        """See `Source._read`; the chosen level, and which of its chunks are on disk."""
        pyramid = self._pyramid(run)
        level = self._settings.level
        with reading(pyramid.origin):
            return Tomogram(
                header=self._header(run, pyramid),
                volume=pyramid.read(level, planes),
                chunk_voxel=tuple(pyramid.array(level).chunks[-3:]),
                chunk_present=pyramid.chunk_present(level),
                first_plane=planes.start,
            )

    def label_map(
        self, run: str, name: str, shape_voxel: Sequence[int], planes: slice | None = None
    ) -> Bool[np.ndarray, "z y x"]:
        """See `Source.label_map`; of several segmentations that fit, only those of the chosen users and sessions count."""
        with reading(f"{self.path}: {run}"):
            there = self._runs[run].segmentations
            named = [mask for mask in there if mask.name == name]
            if not named:
                names = ", ".join(sorted({mask.name for mask in there})) or "none"
                raise MissingMapError(
                    f"{self.path}: {run} has no segmentation {name}; there are: {names}; choose one that all runs have, or add it"
                )
            pyramids = {mask: open_pyramid(mask.zarr(), f"{run}: segmentation {name}") for mask in named}
            shapes = {mask: pyramid.shapes_voxel() for mask, pyramid in pyramids.items()}
            wanted = tuple(shape_voxel)
            fitting = [mask for mask in named if wanted in shapes[mask].values()]
            if not fitting:
                found = sorted({"x".join(map(str, shape)) for each in shapes.values() for shape in each.values()}) or [
                    "no"
                ]
                raise SourceError(
                    f"{self.path}: segmentation {name} of {run} has {' or '.join(found)} voxels (z, y, x) and the tomogram "
                    f"{'x'.join(map(str, wanted))}; choose another level of the tomogram, or segment this one"
                )
            users, sessions = self._settings.users, self._settings.sessions
            chosen = [
                mask
                for mask in fitting
                if (not users or mask.user_id in users) and (not sessions or mask.session_id in sessions)
            ]
            if len(fitting := chosen or fitting) > 1:
                who = ", ".join(sorted(f"{mask.user_id} (session {mask.session_id})" for mask in fitting))
                raise SourceError(
                    f"{self.path}: segmentation {name} of {run} is by {who}; choose one by user and session, or remove the others"
                )
            levels = {shape: level for level, shape in shapes[fitting[0]].items()}
            return np.asarray(pyramids[fitting[0]].read(levels[wanted], planes) != 0)

    @cached_property
    def _runs(self) -> dict[str, Any]:
        with reading(str(self.path)):
            runs = {run.name: run for run in self._root.runs}
        if not runs:
            raise SourceError(f"{self.path}: no runs in its {RUNS}; check static_root and overlay_root, or the path")
        return runs

    @cached_property
    def _picks(self) -> list[Picks]:
        files = [file for run in self.runs() for file in pick_files(self._runs[run])]
        if not files:
            self._refuse_segmentations_alone()
        chosen = [best(file.load(), self._settings.min_score) for file in select(files, self._settings, str(self.path))]
        return sorted(chosen, key=lambda picks: (picks.run, picks.label, picks.user or "", picks.session or ""))

    def _refuse_segmentations_alone(self) -> None:
        with reading(str(self.path)):
            found = next((mask for run in self.runs() for mask in self._runs[run].segmentations), None)
        if found is None:
            return
        named = f"{found.name}:{found.user_id}/{found.session_id}@{found.voxel_size}"
        split = f"copick process split -i '{named}', then " if found.is_multilabel else ""
        raise PickError(
            f"{self.path}: no picks, but segmentations; take their centers with copick-utils, for each class: {split}"
            f"copick convert seg2picks -i '{'CLASS' if split else found.name}:{named.partition(':')[2]}' -o 'CLASS:centers/0'"
        )

    @cached_property
    def _tomograms(self) -> dict[tuple[float, str], dict[str, Any]]:
        """(voxel spacing, tomogram type) -> run -> copick tomogram."""
        found: dict[tuple[float, str], dict[str, Any]] = {}
        for run in self.runs():
            with reading(f"{self.path}: {run}"):
                for spacing in self._runs[run].voxel_spacings:
                    for tomogram in spacing.tomograms:
                        found.setdefault((spacing.voxel_size, tomogram.tomo_type), {}).setdefault(run, tomogram)
        return found

    @cached_property
    def _choice(self) -> tuple[float, str]:
        """The one voxel spacing and tomogram type that the settings leave; for all runs, so that types never mix."""
        wanted_type, wanted_spacing = self._settings.tomogram_type, self._settings.voxel_spacing_angstrom
        left = [
            (spacing, kind)
            for spacing, kind in sorted(self._tomograms)
            if wanted_type in (None, kind)
            and (wanted_spacing is None or abs(spacing - wanted_spacing) < _SPACING_TOLERANCE)
        ]
        if len(left) == 1:
            return left[0]
        found = [f"{kind} at voxel spacing {spacing:.3f}" for spacing, kind in sorted(self._tomograms)]
        there = ", ".join(found) or "none"
        if not left:
            spacing = f"at voxel spacing {wanted_spacing:.3f}" if wanted_spacing else ""
            asked = " ".join(word for word in ("no tomogram", wanted_type, spacing) if word)
            raise MissingTomogramError(
                f"{self.path}: {asked}; there are: {there}; choose a tomogram type and voxel spacing of these"
            )
        raise AmbiguousTomogramError(
            f"{self.path}: several tomograms to choose from: {there}; choose by tomogram type and voxel spacing"
        )

    def _pyramid(self, run: str) -> Pyramid:
        if run not in self._runs:
            raise SourceError(f"{self.path}: no run {run}; there are {', '.join(self.runs())}")
        spacing, kind = self._choice
        tomograms = self._tomograms[self._choice]
        if run not in tomograms:
            raise MissingTomogramError(
                f"{self.path}: {run} has no {kind} tomogram at voxel spacing {spacing:.3f}; those that have one: "
                f"{', '.join(sorted(tomograms))}"
            )
        with reading(f"{self.path}: {run}"):
            store = tomograms[run].zarr()
            origin = str(getattr(store, "path", f"{run}/{kind}"))
            return open_pyramid(store, origin, voxel_size_angstrom=self._settings.voxel_size_angstrom)

    def _header(self, run: str, pyramid: Pyramid) -> TomogramHeader:
        level = self._settings.level
        with reading(pyramid.origin):
            z, y, x = pyramid.shape_voxel(level)
        voxel_size = pyramid.levels[level].voxel_size_angstrom
        if math.isnan(voxel_size):
            raise SourceError(
                f"{pyramid.origin}: its .zattrs does not say how much coarser level {level} is than level 0; choose "
                "level 0, or correct the scales in its .zattrs"
            )
        header = TomogramHeader(
            run=run,
            shape_voxel=(z, y, x),
            voxel_size_angstrom=voxel_size,
            origin=pyramid.origin,
            tilt_range_degrees=pyramid.tilt_range_degrees or self._settings.tilt_range_degrees,
            simulated=pyramid.simulated or (self._root.config.description or "").startswith(SIMULATED_BY),
            first_voxel_angstrom=pyramid.levels[level].first_voxel_angstrom,
        )
        if self._settings.voxel_size_angstrom is None and pyramid.levels[0].voxel_size_angstrom == UNKNOWN_ANGSTROM:
            finest = replace(
                header, voxel_size_angstrom=UNKNOWN_ANGSTROM, shape_voxel=(z << level, y << level, x << level)
            )
            refuse_picks_beyond_unit_voxels(finest, [picks for picks in self._picks if picks.run == run])
        return header


def open_config(config_path: Path, settings: SourceSettings, *, path: Path) -> CopickSource:
    """Open a project by its copick configuration, local or remote; `path` is what the user named, it or its folder.

    A local root that does not exist, or that another copy of the project names too, is looked for next to the configuration,
    so a project stays readable when its folder moves, and a copy reads its own picks.
    """
    config = read_json(config_path, SourceError)
    if not {"pickable_objects", "config_type"} & set(config):
        raise SourceError(
            f"{config_path}: it has no pickable_objects, so it is not a copick configuration; check the path"
        )
    config.setdefault("config_type", "filesystem")
    for key in ("static_root", "overlay_root"):
        _check_protocol(config.get(key), config.get(f"{key.partition('_')[0]}_fs_args"), config_path)
        if isinstance(root := config.get(key), str):
            config[key] = _find_root(root, config_path)
            if config[key] != root and (Path(root.rpartition("://")[2])).exists():
                warn(
                    f"{config_path}: {key} is {root}, another copy; what lies beside the configuration is read instead"
                )
    with reading(str(config_path)):
        if config["config_type"] == "filesystem":  # without what copick imports for the others, which takes a second
            root = CopickRootFSSpec(CopickConfigFSSpec(**config))
        else:
            root = copick.from_string(json.dumps(config))
        return CopickSource(path, "copick project", root, settings)


def _check_protocol(root: Any, arguments: Any, config_path: Path) -> None:
    """Refuse file systems that do more than hold files: some run commands or templates that a configuration names."""
    protocol = str(root or "").rpartition("://")[0]
    if protocol not in _PROTOCOLS or "::" in str(root or ""):
        known = ", ".join(sorted(filter(None, _PROTOCOLS)))
        raise SourceError(f"{config_path}: {root!r} is on a file system that frazil does not open; use one of {known}")
    if named := sorted(_RUNS_COMMANDS & set(arguments if isinstance(arguments, dict) else ())):
        raise SourceError(f"{config_path}: {named[0]} in the arguments of {root} runs a command; leave it out")


def open_tree(path: Path, kind: str, settings: SourceSettings, *, static: Path, overlay: Path) -> CopickSource:
    """Open folders in copick's layout that have no configuration; `static` and `overlay` may be the same, one may be missing."""
    config = CopickConfigFSSpec(
        pickable_objects=[], overlay_root=f"local://{overlay.resolve()}", static_root=f"local://{static.resolve()}"
    )
    return CopickSource(path, kind, CopickRootFSSpec(config), settings)


def _find_root(root: str, config_path: Path) -> str:
    protocol, separator, rest = root.rpartition("://")
    there, beside = Path(rest), config_path.parent.resolve()
    if protocol not in ("", "local", "file"):
        return root
    if there.exists():
        places = {place.resolve() for place in (there, there.absolute().parent)}
        if beside in places or not any((place / config_path.name).is_file() for place in places):
            return root
    for candidate in (*(() if there.is_absolute() else (beside / there,)), beside / there.name, beside):
        if (candidate / RUNS).is_dir():
            return f"{protocol}{separator}{candidate.resolve()}"
    return root
