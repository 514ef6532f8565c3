"""`frazil figures`: a box store, samples and a training run in; the paper's figures out, as PNG and PDF."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32

from frazil.core.console import say
from frazil.core.errors import OutputError, RequestError, SourceError
from frazil.core.files import file_digest, make_folder, output_errors, read_json, write_json
from frazil.core.seeds import numpy_generator
from frazil.core.settings import Normalisation
from frazil.core.version import __version__
from frazil.dataset.store import BoxStore, StoreDescription
from frazil.dataset.subtomograms import Subtomograms
from frazil.io.checks import clean_name
from frazil.io.mrc import read_volume
from frazil.model.bundle import CARD_FILE, RUN_BUNDLE, BundleCard, read_card
from frazil.plots.curves import loss_page, read_metrics
from frazil.plots.page import Page, save_figure
from frazil.plots.slices import Examples, class_page, overview_page
from frazil.sampling.manifest import MANIFEST_FILE, SampleEntry, SampleManifest, read_record

SCHEMA_VERSION = 1
PLAN_FILE = "figures.json"
METRICS_FILE = "metrics.csv"
"""Where `frazil train` puts its losses in its run folder."""

OVERVIEW_REAL = 3
"""Real examples of a class in the overview, beside its samples."""


@dataclass(frozen=True)
class Inputs:
    """What there is to draw; each part may be missing.

    Parameters
    ----------
    store : real or simulated boxes.
    samples, manifest : folder of samples, and what it says.
    run, metrics, card : folder of a training run, its losses by epoch, and the card of its bundle.
    """

    store: BoxStore | None
    samples: Path | None
    manifest: SampleManifest | None
    run: Path | None
    metrics: pd.DataFrame | None
    card: BundleCard | None

    @property
    def origin(self) -> str:
        """What the boxes of the store are: ``Real`` or ``Simulated``."""
        if self.store is None:
            return "Real"
        return "Simulated" if self.store.description.simulated else "Real"

    @property
    def normalisation(self) -> Normalisation:
        """How the boxes of the store are z-scored: as for the network that is shown."""
        for known in (self.manifest, self.card):
            if known is not None:
                return known.normalisation
        return "padded"  # the paper's

    @property
    def boxes(self) -> SampleManifest | StoreDescription:
        """What tells the size of the boxes that are drawn."""
        known = self.manifest or (self.store.description if self.store is not None else None)
        assert known is not None
        return known

    @property
    def labels(self) -> list[str]:
        """Classes to draw: those of the samples, or those of the store where there are no samples."""
        if self.manifest is not None:
            return sorted({entry.label for entry in self.manifest.samples})
        return list(self.store.description.labels) if self.store is not None else []


@dataclass(frozen=True)
class Choice:
    """What is drawn of a class: boxes of the store (split and number), samples of the folder."""

    boxes: list[tuple[str, int]]
    samples: list[SampleEntry]


def figures(
    out: Path,
    *,
    store: Path | None = None,
    samples: Path | None = None,
    run: Path | None = None,
    examples: int = 5,
    seed: int = 0,
    force: bool = False,
) -> list[Path]:
    """Draw the losses of a run, and for every class real examples and samples.

    Parameters
    ----------
    out : folder for the figures and `figures.json`, which says what is drawn.
    store : box store, for the real examples.
    samples : folder that `frazil sample` wrote.
    run : folder that `frazil train` wrote.
    examples : real examples and samples of a class, at most.
    seed : draws the real examples; whole boxes before padded ones, then validation boxes before training boxes.
    force : replace other figures in `out`.

    Returns
    -------
    The PNG files.

    Raises
    ------
    RequestError : nothing to draw, or parts that do not belong together.
    StoreError, SourceError, CheckpointError, BundleError : a part that cannot be read.
    OutputError : `out` holds other figures, or cannot be written.
    """
    if store is None and samples is None and run is None:
        raise RequestError("nothing to draw; pass --store, --samples or --run (or all of them)")
    if examples < 1:
        raise RequestError(f"examples {examples}: draw at least 1 of a class")
    inputs = _read(store, samples, run)
    chosen = {label: _choose(inputs, label, examples, seed) for label in inputs.labels}
    names = (["losses"] if run is not None else []) + [_file_name(label) for label in chosen]
    names += ["overview"] if len(chosen) > 1 else []
    finished = _begin(out, _plan(inputs, chosen, examples, seed, names), force=force)
    if finished.issuperset(names):
        say(f"{out}: all {len(names)} figures are there already; nothing to do")
        return [out / f"{name}.png" for name in names]
    for name, page in _pages(inputs, chosen):
        if name not in finished:
            png, _ = save_figure(page.figure, out / name)
            say(f"  {png}  and .pdf")
    return [out / f"{name}.png" for name in names]


def _read(store: Path | None, samples: Path | None, run: Path | None) -> Inputs:
    """Open everything and check that it belongs together."""
    boxes = BoxStore.open(store) if store is not None else None
    manifest = read_record(samples / MANIFEST_FILE, SampleManifest, SourceError) if samples is not None else None
    if manifest is not None and not manifest.samples:
        raise SourceError(f"{samples}: there are no samples yet; run frazil sample again to go on")
    card = read_card(run / RUN_BUNDLE) if run is not None and (run / RUN_BUNDLE / CARD_FILE).exists() else None
    facts = [
        (path, known.box_size_voxel, known.voxel_size_angstrom, set(map(clean_name, known.labels)))
        for path, known in ((store, boxes.description if boxes else None), (samples, manifest), (run, card))
        if known is not None
    ]
    for path, box, voxel_size, labels in facts[1:]:
        first, first_box, first_voxel_size, first_labels = facts[0]
        if box != first_box:
            raise RequestError(
                f"{path}: boxes of {box} voxels, but {first} has {first_box}; draw what belongs together"
            )
        if voxel_size is not None and first_voxel_size and abs(voxel_size / first_voxel_size - 1) > 1e-3:
            raise RequestError(
                f"{path}: voxels of {voxel_size:g} A, but {first} has {first_voxel_size:g} A; draw what belongs together"
            )
        if not labels & first_labels:
            raise RequestError(
                f"{path}: classes {', '.join(sorted(labels))}, but {first} has {', '.join(sorted(first_labels))}; "
                "draw what belongs together"
            )
    metrics = read_metrics(run / METRICS_FILE) if run is not None else None
    return Inputs(boxes, samples, manifest, run, metrics, card)


def _choose(inputs: Inputs, label: str, count: int, seed: int) -> Choice:
    """Draw the real examples, whole boxes before padded ones, validation before training; take the first samples."""
    boxes: list[tuple[str, int]] = []
    if inputs.store is not None:
        rows = inputs.store.particles[inputs.store.particles["label"] == clean_name(label)]
        chance = numpy_generator(seed, "figures", label).permutation(len(rows))
        order = np.lexsort((chance, rows["split"] != "validation", np.ceil(rows["padding"] * 10)))  # padding in tenths
        drawn = rows.iloc[order[:count]]
        boxes = [(str(split), int(box)) for split, box in zip(drawn["split"], drawn["box"], strict=True)]
    entries = [entry for entry in inputs.manifest.samples if entry.label == label] if inputs.manifest else []
    return Choice(boxes, entries[:count])


def _plan(inputs: Inputs, chosen: dict[str, Choice], examples: int, seed: int, names: Sequence[str]) -> dict[str, Any]:
    """Say what is drawn, so that the same figures are not drawn twice."""
    store, samples, run = inputs.store, inputs.samples, inputs.run
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "frazil figures",
        "frazil_version": __version__,
        "examples": examples,
        "seed": seed,
        "files": [f"{name}.{suffix}" for name in names for suffix in ("png", "pdf")],
        "store_digest": store.digest if store is not None else None,
        "samples_digest": file_digest(samples / MANIFEST_FILE) if samples is not None else None,
        "metrics_digest": file_digest(run / METRICS_FILE) if run is not None else None,
        "boxes": inputs.origin.lower() if store is not None else None,
        "classes": {
            label: {
                "boxes": [{"split": split, "box": box} for split, box in choice.boxes],
                "samples": [entry.file for entry in choice.samples],
            }
            for label, choice in chosen.items()
        },
    }


def _begin(out: Path, plan: dict[str, Any], *, force: bool) -> set[str]:
    """Write what is to be drawn; return the names of the figures that are there already.

    Raises
    ------
    OutputError : there are other figures in `out`.
    """
    path = out / PLAN_FILE
    there = read_json(path, OutputError) if path.exists() else None
    in_the_way = [name for name in plan["files"] if (out / name).exists()]
    if there == plan and not force:
        stems = [name.rpartition(".")[0] for name in in_the_way]
        return {stem for stem in stems if stems.count(stem) == 2}  # both PNG and PDF
    if (there is not None or in_the_way) and not force:
        what = "figures of other inputs or options" if there is not None else in_the_way[0]
        raise OutputError(f"{out}: holds {what}; choose another folder, or pass --force to replace them")
    make_folder(out)
    with output_errors(out):
        for name in there.get("files", []) if isinstance(there, dict) else []:
            (out / Path(name).name).unlink(missing_ok=True)
    write_json(path, plan)
    return set()


def _pages(inputs: Inputs, chosen: dict[str, Choice]) -> Iterator[tuple[str, Page]]:
    """Draw one figure after the other; yield its file name and it."""
    if inputs.metrics is not None:
        yield "losses", loss_page(inputs.metrics, caption=_losses_caption(inputs))
    overview: dict[str, list[Examples]] = {}
    for label, choice in chosen.items():
        rows = _examples(inputs, choice)
        caption = _slices_caption(inputs, [choice], "Central XY, XZ and YZ slices")
        yield (
            _file_name(label),
            class_page(label, rows, voxel_size_angstrom=inputs.boxes.voxel_size_angstrom, caption=caption),
        )
        # beside samples a few real examples are enough
        few = OVERVIEW_REAL if choice.samples else len(choice.boxes)
        overview[label] = [row if row.kind == "Generated" else replace(row, volumes=row.volumes[:few]) for row in rows]
    if len(chosen) > 1:
        caption = _slices_caption(inputs, chosen.values(), "Central XY slices")
        yield "overview", overview_page(overview, voxel_size_angstrom=inputs.boxes.voxel_size_angstrom, caption=caption)


def _examples(inputs: Inputs, choice: Choice) -> list[Examples]:
    """Read what is drawn of a class."""
    rows = []
    if inputs.store is not None and choice.boxes:
        splits = sorted({split for split, _ in choice.boxes}, reverse=True)  # validation before training
        particles = inputs.store.particles
        rows.append(
            Examples(
                inputs.origin,
                _boxes(inputs.store, choice.boxes, inputs.normalisation),
                [f"{particles['run'].iloc[box]} box {box}" for _, box in choice.boxes],
                note=f"{' and '.join({'train': 'training'}.get(split, split) for split in splits)} split",
            )
        )
    if inputs.samples is not None and choice.samples:
        volumes = np.stack([read_volume(inputs.samples / entry.file) for entry in choice.samples])
        rows.append(Examples("Generated", volumes, [f"sample {entry.index}" for entry in choice.samples]))
    return rows


def _boxes(
    store: BoxStore, chosen: Sequence[tuple[str, int]], normalisation: Normalisation
) -> Float32[np.ndarray, "n d d d"]:
    """Read boxes as the network sees them."""
    splits = {split: Subtomograms(store, split, normalisation, in_memory=False) for split in ("train", "validation")}
    rows = [(splits[split], int(np.flatnonzero(splits[split].indices == box)[0])) for split, box in chosen]
    return np.stack([boxes[row].volume[0].numpy() for boxes, row in rows])


def _slices_caption(inputs: Inputs, choices: Collection[Choice], what: str) -> str:
    samples = [entry for choice in choices for entry in choice.samples]
    boxes = [box for choice in choices for _, box in choice.boxes]
    size = inputs.boxes.box_size_voxel
    voxel_size = inputs.boxes.voxel_size_angstrom
    text = (
        f"{what} of boxes of {size}³ voxels, {voxel_size:.3f}\u00a0Å each ({size * voxel_size / 10:.1f}\u00a0nm). Grey values are "
        "z-scored box by box (eq.\u00a01); black and white of a row are its percentiles 0.5 and 99.5. "
    )
    if inputs.store is not None:
        simulated = "Simulated boxes, which no microscope saw" if inputs.origin == "Simulated" else "Real boxes"
        text += f"{simulated}: drawn at random from {inputs.store.path.resolve().name}, whole ones first. "
        if (inputs.store.particles["padding"].iloc[boxes] > 0).any():
            text += "Flat parts were not measured. "
    if inputs.manifest is not None and samples:
        digest = inputs.manifest.bundle_digest.removeprefix("sha256:")[:8]
        text += f"Generated: {samples[0].sampler}, {samples[0].steps} steps, seed {samples[0].seed}, bundle {digest}"
        if inputs.store is not None:
            same = inputs.manifest.training_data_digest == inputs.store.digest
            text += f", trained on {'the training split of this store' if same else 'other boxes than these'}"
        text += "."
    return text


def _losses_caption(inputs: Inputs) -> str:
    assert inputs.run is not None
    text = f"Run {inputs.run.resolve().name}: mean squared error of the predicted clean volume (eq.\u00a04)"
    if inputs.card is not None:
        card = inputs.card
        text += f", preset {card.preset.name}, boxes of {card.box_size_voxel}³ voxels"
        if inputs.store is not None and card.training_data_digest == inputs.store.digest:
            text += f" of {'simulated' if inputs.origin == 'Simulated' else 'real'} tomograms"
    return f"{text}. The validation loss is measured on fixed pairs of noise level and noise."


def _file_name(label: str) -> str:
    return f"class-{clean_name(label)}"
