"""Average the weights of bundles that were trained from one and the same: ``average_weights.py OUT BUNDLE BUNDLE ...``.

Two trainings with other seeds on two cores, averaged, are a cheap training on both: each sees other boxes and other noise, and what
differs between them is mostly noise. All else is that of the last bundle.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from frazil.model.bundle import load_bundle, save_bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+")
    arguments = parser.parse_args()
    bundles = [load_bundle(folder) for folder in arguments.bundles]
    last = bundles[-1]
    for bundle, folder in zip(bundles, arguments.bundles, strict=True):
        alike = all(getattr(bundle.card, name) == getattr(last.card, name) for name in ("labels", "base_digest"))
        if not alike or bundle.card.preset.model != last.card.preset.model:
            parser.error(f"{folder}: other classes, another network or another base than {arguments.bundles[-1]}")
    states = [bundle.network.state_dict() for bundle in bundles]
    mean = {name: torch.stack([state[name].double() for state in states]).mean(0) for name in states[0]}
    last.network.load_state_dict(mean)
    averaged = save_bundle(arguments.out, last.network, last.card)
    print(f"{arguments.out}: the mean of {len(bundles)} bundles, {averaged.digest}")


if __name__ == "__main__":
    main()
