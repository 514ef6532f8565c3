"""A source in memory: what is cut from it is known, and how often it is read is counted."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from frazil.core.errors import MissingTomogramError
from frazil.core.records import Picks, Tomogram, TomogramHeader
from frazil.core.settings import CurateSettings, SourceSettings
from frazil.dataset.curate import curate_boxes
from frazil.dataset.plan import check_plan, make_plan


@dataclass
class FakeSource:
    """Runs are those of `volumes` and of the picks; `absent` names chunks (run, cz, cy, cx) that are not on disk."""

    volumes: dict[str, np.ndarray]
    all_picks: list[Picks]
    voxel_sizes: dict[str, float]
    tilts: dict[str, tuple[float, float] | None] = field(default_factory=dict)
    absent: set[tuple[str, int, int, int]] = field(default_factory=set)
    chunk: int = 8
    radii: dict[str, float] = field(default_factory=dict)
    path: Path = Path("somewhere/fake")
    kind: str = "fake"
    reads: list[str] = field(default_factory=list)

    def runs(self):
        return sorted({*self.volumes, *(picks.run for picks in self.all_picks)})

    def picks(self):
        return sorted(self.all_picks, key=lambda picks: (picks.run, picks.label))

    def radii_angstrom(self):
        return self.radii

    def header(self, run):
        if run not in self.volumes:
            raise MissingTomogramError(f"{self.path}: no tomogram of {run}; there are {', '.join(self.volumes)}")
        return TomogramHeader(
            run, self.volumes[run].shape, self.voxel_sizes[run], f"{self.path}/{run}", self.tilts.get(run)
        )

    def read(self, run):
        self.reads.append(run)
        volume = self.volumes[run].copy()
        present = np.ones([-(-edge // self.chunk) for edge in volume.shape], dtype=bool)
        for name, *chunk in self.absent:
            if name == run:
                present[tuple(chunk)] = False
                volume[tuple(slice(c * self.chunk, (c + 1) * self.chunk) for c in chunk)] = 0
        return Tomogram(self.header(run), volume, (self.chunk,) * 3, present)


def noise(run, shape=(24, 30, 36)):
    return np.random.default_rng(len(run)).standard_normal(shape).astype(np.float32)


@pytest.fixture
def make_source():
    """Return a function: ``make_source({("a", "ribosome"): [[z, y, x], ...]})`` in voxels of each run's tomogram."""

    def make(places, *, voxel_sizes=None, volumes=None, rotations=None, users=None, **other):
        runs = sorted({run for run, _ in places})
        sizes = dict.fromkeys(runs, 10.0) | (voxel_sizes or {})
        picks = [
            Picks(
                run,
                label,
                np.asarray(centers, dtype=np.float64).reshape(-1, 3) * sizes[run],
                rotations=None if rotations is None else rotations[run, label],
                user=(users or {}).get((run, label)),
                origin=f"{run}/{label}",
            )
            for (run, label), centers in places.items()
        ]
        return FakeSource({run: noise(run) for run in runs} if volumes is None else volumes, picks, sizes, **other)

    return make


@pytest.fixture
def source(make_source):
    """Three runs, two classes; every box of 8 voxels is inside, but the first ribosome of run a."""
    return make_source(
        {
            ("a", "ribosome"): [[2.2, 10, 10], [12, 10, 10.4]],
            ("a", "apo-ferritin"): [[13, 12, 9]],
            ("bb", "ribosome"): [[12, 12, 12], [14, 14, 14], [12, 20, 20]],
            ("ccc", "apo-ferritin"): [[8, 8, 8]],
        }
    )


@pytest.fixture
def settings():
    return CurateSettings(box_size_voxel=8)


@pytest.fixture
def curated(tmp_path):
    """Return a function that curates a source to a store."""

    def run(source, settings, *, source_settings=None, out=None, **options):
        plan = make_plan(source, source_settings or SourceSettings(), settings)
        check_plan(plan)
        return curate_boxes(source, plan, out or tmp_path / "store", **options)

    return run
