"""Tell a bundle what its tomograms lack, so that `frazil compose` gives each the contrast of one of its training tomograms.

python scripts/fit_contrast.py BUNDLE TRAINING COMPOSED --out BUNDLE

TRAINING and COMPOSED are stores of `frazil curate --whole`: tomograms that the bundle learned from, of which those with the tilt range of
COMPOSED count, and some that it composed with layouts as dense as theirs, while it knew no contrasts. (`frazil.volume.contrast`)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from frazil.dataset.split import TRAIN
from frazil.dataset.tomograms.store import TomogramStore
from frazil.model.bundle import load_bundle, save_bundle
from frazil.volume.contrast import fit_contrast


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    for name in ("bundle", "training", "composed"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    bundle, training, composed = (
        load_bundle(chosen.bundle), TomogramStore.open(chosen.training), TomogramStore.open(chosen.composed)
    )  # fmt: skip
    if bundle.card.contrasts:
        parser.error(f"{chosen.bundle}: knows contrasts already, which its composed tomograms have")
    made = [composed.array(run)[:].astype(np.float32) for run in composed.runs]
    contrasts = {}
    for run, header in training.description.tomograms.items():
        same_wedge = header.tilt_range_degrees == composed.description.tilt_range_degrees
        if same_wedge and TRAIN in training.description.regions[run]:
            volume = training.array(run)[:].astype(np.float32)
            contrasts[run] = fit_contrast(made, volume, header.tilt_range_degrees)
    saved = save_bundle(chosen.out, bundle.network, bundle.card.model_copy(update={"contrasts": contrasts}))
    print(f"{chosen.out}: contrasts of {', '.join(contrasts)}; {saved.digest}")


if __name__ == "__main__":
    main()
