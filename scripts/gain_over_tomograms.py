"""F4 of pickers over the number of annotated tomograms, arm by arm, as an image.

python scripts/gain_over_tomograms.py docs/lab/pickers.csv docs/images/gain.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

COLORS = {"copy-paste": "#5f666f", "simulated and copy-paste": "#0061a8", "composed and copy-paste": "#b3541e"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    table = pd.read_csv(chosen.table)
    counts = sorted(table["annotated_tomograms"].unique())
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for number, (arm, color) in enumerate(COLORS.items()):
        rows = table[table["arm"] == arm]
        places = [counts.index(count) + 0.16 * (number - 1) for count in rows["annotated_tomograms"]]
        axes.plot(places, rows["f4"], ".", color=color, alpha=0.4)
        means = rows.groupby("annotated_tomograms")["f4"].mean()
        axes.plot(
            [counts.index(count) + 0.16 * (number - 1) for count in means.index], means, "o-", color=color, label=arm
        )
    axes.set(xticks=range(len(counts)), xticklabels=counts, xlabel="annotated tomograms", ylabel="F4 on test tomograms")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(chosen.out, dpi=150)


if __name__ == "__main__":
    main()
