"""Classes that a small classifier can tell apart."""

import numpy as np
import pytest

from frazil.core.seeds import numpy_generator
from frazil.evaluation.volumes import VolumeSet

EDGE = 16
RADII = {"large": 5.0, "middle": 3.2, "small": 1.5}


@pytest.fixture(scope="session")
def draw():
    """Return a function that draws dark balls of three sizes in white noise, off center by up to half a voxel."""

    def draw(per_class: int, *path: str | int) -> VolumeSet:
        random = numpy_generator(0, *path)
        labels = np.repeat(sorted(RADII), per_class)
        grid = np.stack(np.meshgrid(*[np.arange(EDGE) - EDGE // 2] * 3, indexing="ij"), axis=-1)
        volumes = random.standard_normal((len(labels), EDGE, EDGE, EDGE))
        for volume, label in zip(volumes, labels, strict=True):
            volume[np.linalg.norm(grid - random.uniform(-0.5, 0.5, 3), axis=-1) < RADII[label]] -= 4
        volumes -= volumes.mean(axis=(1, 2, 3), keepdims=True)
        volumes /= volumes.std(axis=(1, 2, 3), keepdims=True)
        names = tuple(f"{path[-1]} {row}" for row in range(len(labels)))
        return VolumeSet(volumes.astype(np.float32), labels, names, 10.0)

    return draw
