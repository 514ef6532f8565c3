"""The README's picture: a composed tomogram beside the simulated one of the same layout, in XY and XZ.

python scripts/composed_picture.py COMPOSED SIMULATED RUN OUT.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from frazil.core.settings import SourceSettings
from frazil.io.sources import open_source

SHOWN_VOXEL = 420


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("composed", type=Path)
    parser.add_argument("simulated", type=Path)
    parser.add_argument("run")
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    volumes = {
        name: open_source(path, SourceSettings()).read(chosen.run).volume
        for name, path in {"composed": chosen.composed, "simulated": chosen.simulated}.items()
    }
    depth = volumes["simulated"].shape[0]
    black, white = np.quantile(volumes["simulated"][depth // 2], [0.003, 0.999])
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.6), height_ratios=[SHOWN_VOXEL, depth], layout="constrained")
    for column, (name, volume) in enumerate(volumes.items()):
        for axis, image in zip(axes[:, column], (volume[depth // 2], volume[:, SHOWN_VOXEL // 2]), strict=True):
            axis.imshow(image[:, :SHOWN_VOXEL][:SHOWN_VOXEL], cmap="gray", vmin=black, vmax=white)
            axis.set_axis_off()
        axes[0, column].set_title(f"{name}, XY above and XZ below", fontsize=11)
    figure.savefig(chosen.out, dpi=100)


if __name__ == "__main__":
    main()
