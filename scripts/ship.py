"""Put a trained bundle into the package as a model that frazil brings along, a student or its teacher: ``ship.py BUNDLE --hours 3``.

Weights are rounded to bf16. The card keeps everything but the path of the store on the machine of the training, samples as the
preset does today or as a student has to, makes boxes of the preset's size, and tells the CPU hours of all stages, of which the bundle
knows the last alone, and the tilt range that is meant where none is asked for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from frazil.core.presets import load_preset
from frazil.model.bundle import PRETRAINED, PRETRAINED_TEACHER, WEIGHTS_FILE, bundle_folder, load_bundle, save_bundle

PROVENANCE = (
    "learnt from simulated CZII-like tomograms alone; no real voxel was seen in training. "
    "What it was trained on and how it fails: MODEL_CARD.md beside it"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--hours", type=float, required=True, help="CPU time of all stages of the training")
    parser.add_argument("--tilt-range", type=float, nargs=2, default=(-45.0, 45.0), metavar="DEGREES")
    arguments = parser.parse_args()
    trained = load_bundle(arguments.bundle)
    preset = trained.card.preset
    student = preset.training.distill_steps > 0
    folder = bundle_folder(Path(PRETRAINED if student else PRETRAINED_TEACHER))
    provenance = PROVENANCE
    if student:
        provenance += f"; a student of {preset.training.distill_steps} evaluations, taught by {PRETRAINED_TEACHER}"
    else:
        preset = preset.model_copy(update={"sampling": load_preset(preset.name).sampling})
    losses = trained.card.losses | {"training_hours": arguments.hours}
    changes = {
        "provenance": provenance, "preset": preset, "losses": losses,
        "box_size_voxel": preset.curate.box_size_voxel, "tilt_range_degrees": tuple(arguments.tilt_range),
    }  # fmt: skip
    card = trained.card.model_copy(update=changes)
    shipped = save_bundle(folder, trained.network, card, halved=True)
    size = (folder / WEIGHTS_FILE).stat().st_size
    print(f"{folder}: {size / 2**20:.2f} MiB, {shipped.digest}")


if __name__ == "__main__":
    main()
