"""`frazil contrast`: a bundle and tomograms that it composed in; the same bundle out, which knows what they lack in contrast."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frazil.composition.record import RECORD_FILE, CompositionRecord
from frazil.core.console import progress_bar, say_written
from frazil.core.errors import OutputError, RequestError, ShapeError, SourceError
from frazil.core.settings import SourceSettings
from frazil.dataset.split import TRAIN
from frazil.dataset.tomograms.store import TomogramStore
from frazil.io.sources import open_source
from frazil.model.bundle import CARD_FILE, Bundle, bundle_folder, check_replaceable, load_bundle, save_bundle
from frazil.volume.contrast import Contrast, fit_contrast


def contrast(bundle: str | Path, store: str | Path, composed: str | Path, out: str | Path) -> Bundle:
    """Compare training tomograms with composed ones, and write a bundle whose tomograms get the contrast of the former.

    Parameters
    ----------
    bundle : of layouts, or its run folder; it knows no contrasts yet.
    store : tomograms that it learned from, as `frazil curate` wrote them. What validates is left out.
    composed : project that it composed: best like the project of the store, so that each run has a counterpart with the same layout. Other
        layouts have to be as dense as those of the store; then all of its tomograms count, each against the mean.
    out : folder of the new bundle, which may replace one that knows contrasts.

    Raises
    ------
    OutputError : `out` holds something else.
    RequestError : `composed` is not of this bundle, or has no counterpart in the store; the bundle knows contrasts already.
    ShapeError : a tomogram of fewer than 32 voxels along an axis.
    """
    out = Path(out)
    check_replaceable(out)
    if (out / CARD_FILE).exists() and not load_bundle(out).card.contrasts:
        raise OutputError(f"{out}: holds a bundle that knows no contrasts; choose another folder")
    opened = load_bundle(bundle_folder(Path(bundle)))
    training = TomogramStore.open(Path(store))
    record = CompositionRecord.read(Path(composed) / RECORD_FILE, SourceError)
    if opened.card.contrasts:
        raise RequestError(f"{bundle}: knows contrasts already; give the bundle that was trained")
    if record.parameters.bundle_digest != opened.digest:
        raise RequestError(f"{composed}: was composed by another bundle, {record.bundle}; compose it with {bundle}")
    source, described = open_source(Path(composed), SourceSettings()), training.description
    alike = record.parameters.source.get("like", {}).get("project") == described.source_path
    mean, std = map(np.float32, opened.card.moments or (0, 1))
    contrasts: dict[str, Contrast] = {}
    with progress_bar() as bar:
        for run in bar.track([*described.tomograms], description="contrasts"):
            header, region = described.tomograms[run], described.regions[run].get(TRAIN)
            mates = [
                mate
                for mate, of in record.runs.items()
                if of.tilt_range_degrees == header.tilt_range_degrees and (mate == run or not alike)
            ]
            if mates and region:
                part = tuple(slice(*ends) for ends in zip(*region, strict=True))
                made = [(source.read(mate).volume[part if alike else ...] - mean) / std for mate in mates]
                volume = training.array(run)[part].astype(np.float32)
                try:
                    contrasts[run] = fit_contrast(made, volume, header.tilt_range_degrees)
                except ShapeError as error:
                    raise ShapeError(f"{store}: {run}, {error}") from None
    if not contrasts:
        raise RequestError(
            f"{composed}: none of its tomograms has a counterpart in {store}; compose those of {described.source_path} again"
        )
    card = opened.card.model_copy(update={"contrasts": contrasts})
    told = save_bundle(out, opened.network, card)
    say_written(out, f"the bundle, which knows the contrasts of {', '.join(contrasts)}")
    return told
