"""F4 of pickers over the number of annotated tomograms, arm by arm, from several proofs of the same test tomograms.

python scripts/gain_over_tomograms.py OUT.png PROOF [PROOF ...]      # folders of frazil prove, with different numbers of --train
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt

from frazil.core.errors import SourceError
from frazil.proof.records import RESULT_FILE, ArmResult, Proof

COLORS = {True: "#5f666f", False: "#0061a8"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("proofs", type=Path, nargs="+")
    chosen = parser.parse_args()
    arms: dict[str, list[tuple[int, ArmResult]]] = {}
    proofs = [Proof.read(folder / RESULT_FILE, SourceError) for folder in chosen.proofs]
    for proof in sorted(proofs, key=lambda one: len(one.request.train)):
        for arm in proof.arms:
            arms.setdefault(arm.name, []).append((len(proof.request.train), arm))
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    for number, (name, found) in enumerate(arms.items()):
        color = COLORS[found[0][1].cheap]
        counts = [count + 0.06 * (number - len(arms) / 2) for count, _ in found]
        means = [arm.f_beta.mean for _, arm in found]
        ends = [
            [mean - arm.f_beta.low for mean, (_, arm) in zip(means, found, strict=True)],
            [arm.f_beta.high - mean for mean, (_, arm) in zip(means, found, strict=True)],
        ]
        axes.errorbar(counts, means, ends, color=color, marker="o", capsize=3, label=name)
        for count, (_, arm) in zip(counts, found, strict=True):
            axes.plot([count] * len(arm.by_seed), arm.by_seed, ".", color=color, alpha=0.4)
    axes.set(xlabel="annotated tomograms", ylabel="F4", xticks=sorted({len(proof.request.train) for proof in proofs}))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(chosen.out, dpi=150)


if __name__ == "__main__":
    main()
