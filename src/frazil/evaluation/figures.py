"""`frazil figures`: a box store, samples and a training run in; the paper's figures out, as PNG and PDF."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from frazil.core.console import say
from frazil.core.documents import Document
from frazil.core.errors import RequestError, SourceError
from frazil.core.files import file_digest
from frazil.core.folder import OutputFolder
from frazil.core.records import same_voxel_size
from frazil.core.seeds import numpy_generator
from frazil.core.settings import Normalisation, check_number, check_seed
from frazil.dataset.store import BoxStore, StoreDescription
from frazil.evaluation.inputs.generated import box_names
from frazil.io.checks import clean_name
from frazil.io.mrc import read_volume
from frazil.model.bundle import CARD_FILE, RUN_BUNDLE, BundleCard, read_card
from frazil.plots.curves import LOSSES_FILE, loss_page, read_metrics
from frazil.plots.page import Page, save_figure
from frazil.plots.slices import VolumeRow, class_page, overview_page
from frazil.sampling.manifest import MANIFEST_FILE, SampleEntry, SampleManifest

OVERVIEW_REAL = 3  # real examples per class in the overview, next to its samples

_SUFFIXES = ("png", "pdf")


class FiguresRecord(Document):
    """The content of ``figures.json``: what is drawn, from what; for every class, boxes of the store and files of samples."""

    written_by: ClassVar[str] = "frazil figures"

    schema_version: int = 1
    kind: Literal["frazil figures"] = "frazil figures"
    examples: int
    seed: int
    files: tuple[str, ...]
    store_digest: str | None
    samples_digest: str | None
    metrics_digest: str | None
    boxes: Literal["real", "simulated"] | None
    classes: dict[str, dict[str, list[Any]]]


@dataclass(frozen=True)
class Figures:
    """The figures of a folder; a notebook shows them. `images` are the PNG files."""

    path: Path
    images: tuple[Path, ...]

    def _repr_html_(self) -> str:
        encoded = (base64.b64encode(path.read_bytes()).decode("ascii") for path in self.images)
        return "".join(f'<img style="max-width:100%" src="data:image/png;base64,{data}">' for data in encoded)


@dataclass(frozen=True)
class Parts:
    """What there is to draw: a store, a folder of samples with its manifest, a run with its losses and card; each may be missing."""

    store: BoxStore | None
    samples: Path | None
    manifest: SampleManifest | None
    run: Path | None
    metrics: pd.DataFrame | None
    card: BundleCard | None

    @property
    def origin(self) -> str:
        """What the boxes of the store are."""
        return "Simulated" if self.store is not None and self.store.description.simulated else "Real"

    @property
    def boxes(self) -> SampleManifest | StoreDescription:
        """What knows size and classes of the boxes that are drawn."""
        if self.manifest is not None:
            return self.manifest
        assert self.store is not None
        return self.store.description

    @property
    def entries(self) -> dict[str, list[SampleEntry]]:
        """The samples of each class to draw; the classes are those of the store where there are no samples."""
        if self.manifest is None:
            return {label: [] for label in self.store.description.labels} if self.store is not None else {}
        ordered = sorted(self.manifest.samples, key=lambda entry: entry.label)
        return {label: list(entries) for label, entries in groupby(ordered, key=lambda entry: entry.label)}


def figures(
    out: str | Path,
    *,
    store: str | Path | None = None,
    samples: str | Path | None = None,
    run: str | Path | None = None,
    examples: int = 5,
    seed: int = 0,
    force: bool = False,
) -> Figures:
    """Draw the losses of a run, and for every class real examples and samples.

    Parameters
    ----------
    out : folder for the figures and `figures.json`, which says what is drawn.
    store : box store, for the real examples.
    samples : folder that `frazil sample` wrote.
    run : folder that `frazil train` wrote.
    examples : real examples and samples per class, at most.
    seed : draws the real examples; whole boxes before padded ones, then validation boxes before training boxes.
    force : replace other figures in `out`.

    Raises
    ------
    RequestError : nothing to draw, or parts that do not belong together.
    StoreError, SourceError, CheckpointError, BundleError : a part that cannot be read.
    OutputError : `out` holds other figures, or cannot be written.
    """
    if store is None and samples is None and run is None:
        raise RequestError("nothing to draw; pass a store, samples or a run (or all of them)")
    check_number("examples", examples, RequestError)
    check_seed(seed, RequestError)
    out = Path(out)
    parts = _read(*(None if path is None else Path(path) for path in (store, samples, run)))
    record = _record(parts, examples, seed)
    names = list(dict.fromkeys(file.rpartition(".")[0] for file in record.files))
    made = Figures(out, tuple(out / f"{name}.png" for name in names))
    owned = tuple(f"{name}.{suffix}" for name in ("losses", "overview", "class-*") for suffix in _SUFFIXES)
    folder = OutputFolder(out, "figures.json", FiguresRecord, owned)
    with folder.held():
        work, _ = folder.begin(record, force=force, again=True)
        work.check()
        missing = [name for name in names if not all((work.path / f"{name}.{end}").exists() for end in _SUFFIXES)]
        if not missing and work is folder:
            say(f"{out}: all {len(names)} figures already exist; nothing to do")
            return made
        for name, page in _pages(parts, record):
            if name in missing:
                save_figure(page.figure, work.path / name)
                say(f"  {out / name}.png  and .pdf")
        work.finish()
    return made


def _read(store: Path | None, samples: Path | None, run: Path | None) -> Parts:
    """Open everything and check that it belongs together."""
    boxes = BoxStore.open(store) if store is not None else None
    manifest = SampleManifest.read(samples / MANIFEST_FILE, SourceError) if samples is not None else None
    if manifest is not None and not manifest.samples:
        raise SourceError(f"{samples}: no samples yet; rerun frazil sample to resume")
    card = read_card(run / RUN_BUNDLE) if run is not None and (run / RUN_BUNDLE / CARD_FILE).exists() else None
    facts = [
        (path, known.box_size_voxel, known.voxel_size_angstrom, set(map(clean_name, known.labels)))
        for path, known in ((store, boxes.description if boxes else None), (samples, manifest), (run, card))
        if known is not None
    ]
    for path, box, voxel_size, labels in facts[1:]:
        first, first_box, first_voxel_size, first_labels = facts[0]
        differs = ""
        if box != first_box:
            differs = f"boxes of {box} voxels, but {first} has {first_box}"
        elif voxel_size and first_voxel_size and not same_voxel_size(voxel_size, first_voxel_size):
            differs = f"voxels of {voxel_size:g} A, but {first} has {first_voxel_size:g} A"
        elif not labels & first_labels:
            differs = f"classes {', '.join(sorted(labels))}, but {first} has {', '.join(sorted(first_labels))}"
        if differs:
            raise RequestError(f"{path}: {differs}; draw what belongs together")
    metrics = read_metrics(run / LOSSES_FILE) if run is not None else None
    return Parts(boxes, samples, manifest, run, metrics, card)


def _record(parts: Parts, examples: int, seed: int) -> FiguresRecord:
    store, entries = parts.store, parts.entries
    names = ["losses"] if parts.run is not None else []
    names += [f"class-{clean_name(label)}" for label in entries]
    names += ["overview"] if len(entries) > 1 else []
    return FiguresRecord(
        examples=examples,
        seed=seed,
        files=tuple(f"{name}.{suffix}" for name in names for suffix in _SUFFIXES),
        store_digest=store.digest if store is not None else None,
        samples_digest=file_digest(parts.samples / MANIFEST_FILE) if parts.samples is not None else None,
        metrics_digest=file_digest(parts.run / LOSSES_FILE) if parts.run is not None else None,
        boxes=None if store is None else "simulated" if parts.origin == "Simulated" else "real",
        classes={
            label: {
                "boxes": _choose(store, label, examples, seed) if store is not None else [],
                "samples": [entry.file for entry in own[:examples]],
            }
            for label, own in entries.items()
        },
    )


def _choose(store: BoxStore, label: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Draw boxes: whole ones before padded ones, validation before training."""
    rows = store.particles[store.particles["label"] == clean_name(label)]
    chance = numpy_generator(seed, "figures", label).permutation(len(rows))
    order = np.lexsort((chance, rows["split"] != "validation", np.ceil(rows["padding"] * 10)))  # padding in tenths
    drawn = rows.iloc[order[:count]]
    return [{"split": split, "box": int(box)} for split, box in zip(drawn["split"], drawn["box"], strict=True)]


def _pages(parts: Parts, record: FiguresRecord) -> Iterator[tuple[str, Page]]:
    """Draw one figure after the other, each with its file name."""
    if parts.metrics is not None:
        yield "losses", loss_page(parts.metrics, caption=_losses_caption(parts))
    overview: dict[str, list[VolumeRow]] = {}
    for label, shown in record.classes.items():
        rows = _box_rows(parts, shown["boxes"])
        if parts.samples is not None:
            entries = parts.entries[label][: record.examples]
            volumes = np.stack([read_volume(parts.samples / entry.file) for entry in entries])
            rows.append(VolumeRow("Generated", volumes, [f"sample {entry.index}" for entry in entries]))
        caption = _slices_caption(parts, shown["boxes"], "Central XY, XZ and YZ slices")
        voxel_size = parts.boxes.voxel_size_angstrom
        yield f"class-{clean_name(label)}", class_page(label, rows, voxel_size_angstrom=voxel_size, caption=caption)
        # next to samples, a few real examples are enough
        few = OVERVIEW_REAL if shown["samples"] else len(shown["boxes"])
        overview[label] = [row if row.kind == "Generated" else replace(row, volumes=row.volumes[:few]) for row in rows]
    if len(overview) > 1:
        boxes = [box for shown in record.classes.values() for box in shown["boxes"]]
        caption = _slices_caption(parts, boxes, "Central XY slices")
        yield "overview", overview_page(overview, voxel_size_angstrom=voxel_size, caption=caption)


def _box_rows(parts: Parts, shown: Sequence[Mapping[str, Any]]) -> list[VolumeRow]:
    """Read boxes, z-scored as for the network that is shown."""
    store, network = parts.store, parts.manifest or parts.card
    if store is None or not shown:
        return []
    normalisation: Normalisation = network.normalisation if network is not None else "padded"  # the paper's
    if normalisation == "tomogram":  # boxes know nothing of their tomogram; every row has its own scale of gray
        normalisation = "measured"
    volumes = [store.z_scored(one["box"], normalisation) for one in shown]
    splits = sorted({one["split"] for one in shown}, reverse=True)  # validation before training
    note = f"{' and '.join({'train': 'training'}.get(split, split) for split in splits)} split"
    names = box_names(store, [one["box"] for one in shown])
    return [VolumeRow(parts.origin, np.stack(volumes), names, note=note)]


def _slices_caption(parts: Parts, shown: Sequence[Mapping[str, Any]], what: str) -> str:
    size, voxel_size = parts.boxes.box_size_voxel, parts.boxes.voxel_size_angstrom
    text = (
        f"{what} of boxes of {size}³ voxels, {voxel_size:.3f}\u00a0Å each ({size * voxel_size / 10:.1f}\u00a0nm). Gray values are "
        "z-scored box by box (eq.\u00a01); black and white of a row are its percentiles 0.5 and 99.5. "
    )
    if parts.store is not None:
        simulated = "Simulated boxes, which no microscope saw" if parts.origin == "Simulated" else "Real boxes"
        text += f"{simulated}: drawn at random from {parts.store.path.resolve().name}, whole ones first. "
        if (parts.store.particles["padding"].iloc[[one["box"] for one in shown]] > 0).any():
            text += "Flat parts were not measured. "
    if parts.manifest is not None:
        first, digest = parts.manifest.samples[0], parts.manifest.bundle_digest.removeprefix("sha256:")[:8]
        text += f"Generated: {first.sampler}, {first.steps} steps, seed {first.seed}, bundle {digest}"
        if parts.store is not None:
            same = parts.manifest.training_data_digest == parts.store.digest
            text += f", trained on {'the training split of this store' if same else 'other boxes than these'}"
        text += "."
    return text


def _losses_caption(parts: Parts) -> str:
    assert parts.run is not None
    text = f"Run {parts.run.resolve().name}: mean squared error of the predicted clean volume (eq.\u00a04)"
    if (card := parts.card) is not None:
        text += f", preset {card.preset.name}, boxes of {card.box_size_voxel}³ voxels"
        if parts.store is not None and card.training_data_digest == parts.store.digest:
            text += f" of {parts.origin.lower()} tomograms"
    return f"{text}. The validation loss is measured on fixed pairs of noise level and noise."
