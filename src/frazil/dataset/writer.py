"""A box store while it is being written: ``STORE.partial``, which a killed call leaves and the next one goes on with.

Boxes are written first, then the run's record; a run without a record is cut again. The folder is moved into place when
it is whole.
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import zarr

from frazil.core.errors import OutputError, StoreError
from frazil.core.files import atomic_path, make_folder, output_errors, read_json, write_json
from frazil.dataset.store import BOXES, DESCRIPTION, open_arrays, read_description

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from jaxtyping import Bool, Float32

    from frazil.dataset.store import StoreDescription

_PLAN = "plan.json"
_RUNS = "runs"


class StoreWriter:
    """Writes boxes and records under ``STORE.partial``, and moves the whole into place.

    Parameters
    ----------
    path : where the store will be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial")
        self._old = path.with_name(f"{path.name}.old")
        self._arrays: dict[str, zarr.Array] = {}

    def begin(self, plan_digest: str, *, boxes: int, box_size_voxel: int, force: bool) -> None:
        """Make the folder, or go on with the one that an interrupted call left.

        Parameters
        ----------
        plan_digest : a folder of another plan is not gone on with; without a finished run in it, it is begun anew.
        boxes : the most that there can be.
        force : begin anew over a folder of another plan.

        Raises
        ------
        StoreError : the folder belongs to another plan and has finished runs.
        OutputError : it cannot be written, or holds something that frazil did not put there.
        """
        if os.path.lexists(self.partial):
            begun = self._begun()
            if begun != plan_digest:
                if not force and begun and any((self.partial / _RUNS).glob("*.json")):
                    raise StoreError(
                        f"{self.partial}: begun with other settings or picks; pass --force to begin anew, or another "
                        "--out"
                    )
                with output_errors(self.partial):
                    if begun is None:
                        self._refuse_foreign()
                    shutil.rmtree(self.partial)
        make_folder(self.partial / _RUNS)
        if not (self.partial / _PLAN).is_file():
            self._create_arrays(boxes, box_size_voxel)
            write_json(self.partial / _PLAN, {"plan_digest": plan_digest})
        self._arrays = open_arrays(self.partial / BOXES, mode="r+")

    def record_of(self, number: int) -> list[dict[str, Any]] | None:
        """Return what became of the picks of a run, or None where it is not finished."""
        file = self._record(number)
        if not file.is_file():
            return None
        rows = read_json(file, StoreError).get("particles")
        if not isinstance(rows, list):
            raise StoreError(f"{file}: damaged, it lists no particles; remove {self.partial} and run the command again")
        return rows

    def finish_run(self, number: int, run: str, rows: list[dict[str, Any]]) -> None:
        """Record what became of the picks of a run; from here on it is not cut again."""
        write_json(self._record(number), {"run": run, "particles": rows})

    def discard_boxes(self, first: int) -> None:
        """Remove boxes from `first` on, and files half-written, that a killed call left."""
        with output_errors(self.partial):
            for name in self._arrays:
                for file in (self.partial / BOXES / name).iterdir():
                    box = re.fullmatch(r"(\d+)\.0\.0\.0", file.name)
                    if (box is None and not file.name.startswith(".z")) or (box is not None and int(box[1]) >= first):
                        file.unlink()

    def write_box(self, box: int, volume: Float32[np.ndarray, "d d d"], measured: Bool[np.ndarray, "d d d"]) -> None:
        """Write one box. May be called from several threads, for different boxes."""
        self._arrays["volume"][box] = volume
        if not measured.all():
            self._arrays["measured"][box] = measured

    def write_tables(self, tables: dict[str, pd.DataFrame]) -> None:
        """Write tables as CSV, by file name."""
        for name, table in tables.items():
            with atomic_path(self.partial / name) as temporary:
                table.to_csv(temporary, index=False, lineterminator="\n")

    def finish(self, description: StoreDescription) -> None:
        """Write the description, and move the store into place over whatever store is there."""
        with output_errors(self.partial):
            for array in self._arrays.values():
                array.resize(description.box_count, *array.shape[1:])
            write_json(self.partial / DESCRIPTION, description.model_dump(mode="json"))
            self._move()

    def abandon(self) -> None:
        """Remove what was begun."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what only the writing needed; a call that was killed at its very end leaves it."""
        for left in (self._old, self.path / _RUNS):
            shutil.rmtree(left, ignore_errors=True)
        (self.path / _PLAN).unlink(missing_ok=True)

    def _move(self) -> None:
        if self._old.exists():
            shutil.rmtree(self._old)
        if self.path.exists():
            self.path.replace(self._old)
        self.partial.replace(self.path)
        self.tidy()

    def _begun(self) -> str | None:
        """Digest of the plan that was begun; None where nothing can be gone on with."""
        try:
            return str(read_json(self.partial / _PLAN, StoreError).get("plan_digest"))
        except StoreError:
            return None

    def _refuse_foreign(self) -> None:
        """Without a plan, there can only be what is made before it."""
        foreign = [file.name for file in self.partial.iterdir() if file.name not in (_PLAN, _RUNS, BOXES)]
        if any(not name.startswith(".") for name in foreign):
            raise OutputError(
                f"{self.partial}: holds something that is no unfinished box store; move it away, or choose another --out"
            )

    def _record(self, number: int) -> Path:
        return self.partial / _RUNS / f"{number:05d}.json"

    def _create_arrays(self, boxes: int, edge: int) -> None:
        shape, chunks = (boxes, edge, edge, edge), (1, edge, edge, edge)
        with output_errors(self.partial), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # zarr 2 announces that zarr 3 renames its stores
            group = zarr.open_group(zarr.DirectoryStore(str(self.partial / BOXES)), mode="w")
            # no compression and no checksum: grey values are noise, which shrinks little and slowly, and a curation should
            # take about as long as reading the tomogram; the moments in the particle table find damage
            group.create_dataset(
                "volume",
                shape=shape,
                chunks=chunks,
                dtype="<f4",
                fill_value=0,
                compressor=None,
                write_empty_chunks=True,
            )
            group.create_dataset("measured", shape=shape, chunks=chunks, dtype=bool, fill_value=True)


def refuse_occupied(path: Path, *, force: bool) -> None:
    """Refuse to write a store where something is that is none, and over a store without `force`.

    Raises
    ------
    OutputError : a file, or a folder that holds something else than a store.
    StoreError : a store with other settings, or a damaged one.
    """
    with output_errors(path):
        if not path.exists():
            return
        occupied = not path.is_dir() or any(path.iterdir())
        if occupied and not (path / DESCRIPTION).exists() and not (path / BOXES).exists():
            raise OutputError(f"{path}: holds something that is no box store; choose another --out")
    if not force and occupied:
        read_description(path)
        raise StoreError(f"{path}: curated with other settings or picks; pass --force to replace it, or another --out")
