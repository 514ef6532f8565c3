"""Whether large requests stay within bounds: a tomogram of 1024 x 1440 x 1440 voxels, 2,000 runs, 100,000 samples.

    python benchmarks/scale.py [FOLDER] [--shape 1024,1440,1440] [--runs 2000] [--samples 100000]

The tomogram (float32, as MRC and as OME-Zarr) is cut into 200 boxes of 64^3, and kept whole, each in a process of its own whose
peak memory is printed: at most 2 GB for the boxes. Picks of the runs (60 each) are planned: at most 10 s. The log and the
manifest of the samples are written. FOLDER needs room for three such tomograms.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from frazil.core.records import Moments, Picks
from frazil.core.seeds import numpy_generator
from frazil.core.settings import CurateSettings, SamplingSettings, SourceSettings
from frazil.dataset.plan import check_plan, make_plan
from frazil.dataset.run import curate
from frazil.io.copick.project import write_picks, write_project_config, write_tomogram
from frazil.io.mrc import HEADER_BYTES, write_volume
from frazil.io.sources import open_source
from frazil.sampling.folder import sample_log
from frazil.sampling.manifest import SampleEntry

VOXEL_SIZE_ANGSTROM = 10.0
PICKS = 200


def make_tomogram(root: Path, shape: tuple[int, int, int]) -> None:
    """Write one tomogram of noise as MRC with a table of picks, and as a copick project, without holding it in memory."""
    random = numpy_generator(0, "benchmark")
    noise = random.standard_normal((64, *shape[1:]), dtype=np.float32)
    (root / "mrc").mkdir(parents=True)
    write_volume(root / "mrc" / "TS_1.mrc", noise, VOXEL_SIZE_ANGSTROM)
    volume = np.memmap(root / "mrc" / "TS_1.mrc", np.float32, "r+", HEADER_BYTES, shape)
    for plane in range(0, shape[0], 64):
        volume[plane : plane + 64] = noise[: shape[0] - plane]
    header = np.memmap(root / "mrc" / "TS_1.mrc", np.int32, "r+", 0, (10,))
    header[2] = header[9] = shape[0]
    np.memmap(root / "mrc" / "TS_1.mrc", np.float32, "r+", 48, (1,))[0] = shape[0] * VOXEL_SIZE_ANGSTROM
    centers = random.uniform(4, np.array(shape) - 5, size=(PICKS, 3))
    rows = [f"TS_1,ribosome,{x},{y},{z}" for z, y, x in centers.tolist()]
    (root / "mrc" / "picks.csv").write_text("\n".join(["experiment,particle_type,x,y,z", *rows, ""]))
    project = root / "zarr"
    write_project_config(project, name="benchmark", labels_radius_angstrom={"ribosome": 150.0})
    write_tomogram(
        project, run="TS_1", volume=volume, voxel_size_angstrom=VOXEL_SIZE_ANGSTROM, tomogram_type="denoised"
    )
    write_picks(project, Picks("TS_1", "ribosome", centers * VOXEL_SIZE_ANGSTROM), user="benchmark")


def measure_curating(source: Path, out: Path, whole: bool) -> None:
    """Print seconds and peak memory of a curation in this process."""
    start = time.perf_counter()
    select = SourceSettings(units="voxel") if (source / "picks.csv").exists() else SourceSettings()
    curate(source, out, select=select, whole=whole, box_size_voxel=64)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"{source.name}, {'whole' if whole else 'boxes'}: {time.perf_counter() - start:.0f} s, {peak:.2f} GB")


def measure_planning(root: Path, runs: int) -> None:
    """Print the seconds of planning many runs, whose tomograms are one file by many names."""
    random = numpy_generator(0, "benchmark")
    first = root / "many" / "TS_0.mrc"
    write_volume(first, random.standard_normal((32, 64, 64), dtype=np.float32), VOXEL_SIZE_ANGSTROM)
    rows = []
    for run in range(runs):
        if run:
            first.with_name(f"TS_{run}.mrc").hardlink_to(first)
        rows += [f"TS_{run},ribosome,{x},{y},{z}" for x, y, z in random.uniform(2, 30, size=(60, 3)).tolist()]
    (first.parent / "picks.csv").write_text("\n".join(["experiment,particle_type,x,y,z", *rows, ""]))
    wall, cpu = time.perf_counter(), time.process_time()
    select = SourceSettings(units="voxel")
    plan = make_plan(open_source(first.parent, select), select, CurateSettings())
    check_plan(plan)
    print(
        f"{runs} runs with {len(plan.particles):,} picks planned: {time.perf_counter() - wall:.1f} s, "
        f"{time.process_time() - cpu:.1f} s of CPU time"
    )


def measure_manifest(root: Path, samples: int) -> None:
    """Print the seconds that naming samples takes while they are made."""
    (root / "samples").mkdir()
    entry = SampleEntry(
        index=0, name="ribosome-00000", file="volumes/ribosome-00000.mrc", label="ribosome", position=(0.5, 0.5, 0.5),
        seed=0, bundle_digest=f"sha256:{0:064}", moments=Moments(0.0, 1.0), digest=f"sha256:{0:064}",
        **SamplingSettings().model_dump(),
    )  # fmt: skip
    start = time.perf_counter()
    with sample_log(root / "samples") as note:
        for first in range(0, samples, 16):
            note(entry.model_copy(update={"index": index}) for index in range(first, min(first + 16, samples)))
    size = (root / "samples" / "manifest.jsonl").stat().st_size / 1e6
    print(f"{samples:,} samples named in batches of 16: {time.perf_counter() - start:.1f} s in all, {size:.0f} MB")


def _in_its_own_process(work: Callable[..., None], *arguments: Any) -> None:
    """A process begins with the peak memory of the one that starts it, so this one stays small."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()


def main() -> None:
    """Measure all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--shape", default="1024,1440,1440")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--samples", type=int, default=100_000)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=asked.folder))
    try:
        measure_manifest(folder, asked.samples)
        measure_planning(folder, asked.runs)
        shape = tuple(int(edge) for edge in asked.shape.split(","))
        _in_its_own_process(make_tomogram, folder, shape)
        for form, whole in (("mrc", False), ("zarr", False), ("mrc", True), ("zarr", True)):
            _in_its_own_process(measure_curating, folder / form, folder / "out", whole)
            shutil.rmtree(folder / "out")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
