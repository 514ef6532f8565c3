"""How long `frazil curate` takes against reading the tomogram once, and how much memory.

    python benchmarks/curate.py [FOLDER] [--repeats N]

One synthetic run of 184 x 630 x 630 voxels (OME-Zarr, blosc-lz4, the size of a CZII tomogram) with 180 picks, boxes of
64^3. The target is at most 1.5 x the time of reading the file once, and at most 2 GB. FOLDER should lie on the disk that
is to be measured; without it, a temporary folder is used and removed.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import zarr

from frazil.core.records import Picks
from frazil.core.seeds import numpy_generator
from frazil.core.settings import CurateSettings, SourceSettings
from frazil.dataset.curate import curate_boxes
from frazil.dataset.plan import check_plan, make_plan
from frazil.io.copick.project import write_picks, write_project_config, write_tomogram
from frazil.io.sources import open_source

SHAPE_VOXEL = (184, 630, 630)
VOXEL_SIZE_ANGSTROM = 10.012444
PICKS = 180


def make_project(root: Path) -> Path:
    """Write the synthetic run: smooth noise of the amplitude of a real tomogram, which lz4 cannot shrink."""
    random = numpy_generator(0, "benchmark")
    volume = random.standard_normal(SHAPE_VOXEL, dtype=np.float32)
    volume = (volume + np.roll(volume, 1, 0) + np.roll(volume, 1, 1) + np.roll(volume, 1, 2)) * np.float32(3e-6)
    centers = random.uniform(4, np.array(SHAPE_VOXEL) - 5, size=(PICKS, 3)) * VOXEL_SIZE_ANGSTROM
    write_project_config(root, name="benchmark", labels_radius_angstrom={"ribosome": 150.0})
    write_tomogram(root, run="TS_1", volume=volume, voxel_size_angstrom=VOXEL_SIZE_ANGSTROM, tomogram_type="denoised")
    write_picks(root, Picks("TS_1", "ribosome", centers), user="benchmark")
    return root


def measure_plain_reading(project: Path) -> float:
    """Return the seconds that reading the tomogram once takes with zarr alone."""
    (path,) = project.glob("ExperimentRuns/TS_1/*/denoised.zarr")
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        zarr.open_array(zarr.DirectoryStore(str(path), dimension_separator="/"), path="0", mode="r")[...]
    return time.perf_counter() - start


def measure_reading(project: Path) -> float:
    """Return the seconds that reading the tomogram once takes through frazil, which reads chunks in threads."""
    source = open_source(project, SourceSettings())
    start = time.perf_counter()
    source.read("TS_1")
    return time.perf_counter() - start


def measure_curating(project: Path, out: Path) -> float:
    """Return the seconds from opening the source to the finished store."""
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    source = open_source(project, SourceSettings())
    plan = make_plan(source, SourceSettings(), CurateSettings())
    check_plan(plan)
    store = curate_boxes(source, plan, out)
    seconds = time.perf_counter() - start
    assert len(store) == PICKS
    return seconds


def main() -> None:
    """Print medians, their ratio and the peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        project = make_project(folder / "project")
        made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        plain, reading, curating = [], [], []
        for _ in range(arguments.repeats):
            plain.append(measure_plain_reading(project))
            reading.append(measure_reading(project))
            curating.append(measure_curating(project, folder / "store"))
    finally:
        shutil.rmtree(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    once, threaded, curated = (statistics.median(seconds) for seconds in (plain, reading, curating))
    print(f"medians of {arguments.repeats}; {SHAPE_VOXEL} voxels, {PICKS} boxes of 64^3")
    print(f"reading once: zarr alone {once:.3f} s, frazil {threaded:.3f} s")
    print(f"curating: {curated:.3f} s = {curated / once:.2f} x reading with zarr alone (target 1.5)")
    print(f"peak memory {peak / 1024**2:.2f} GB (target 2; making the data took {made / 1024**2:.2f})")


if __name__ == "__main__":
    main()
