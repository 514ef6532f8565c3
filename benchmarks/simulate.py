"""How long a simulated tomogram takes, by stage and by volume, and how much memory.

    python benchmarks/simulate.py [FOLDER] [--fractions 0.125 0.25 0.5 1] [--preset czii] [--repeats N]

The preset's tomogram with its particles, made smaller sideways: 1/8, 1/4, 1/2 and all of it, each in a fresh process that
writes a whole project (wbp, denoised, clean, masks, picks) into FOLDER, or into a temporary folder. The targets are for the
whole czii volume on 2 cores: 2 minutes and 6 GB. A busy machine takes longer: the load is printed too.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from frazil.simulation.preset import load_simulation_preset
from frazil.simulation.run import simulate

STAGES = ("specimen", "microscope", "denoiser", "writing")


def smaller(preset: str, fraction: float) -> dict[str, object]:
    """Return the settings for a share of the preset's volume, with as many particles a volume."""
    specimen = load_simulation_preset(preset).specimen
    depth, height, width = specimen.shape_voxel
    side = math.sqrt(fraction)
    shape = (depth, _good_edge(height * side), _good_edge(width * side))
    share = shape[1] * shape[2] / (height * width)
    counts = {label: max(round(count * share), 1) for label, count in (specimen.particles_per_class or {}).items()}
    return {"specimen.shape_voxel": shape, "specimen.particles_per_class": counts}


def measure_one(preset: str, fraction: float, out: Path) -> None:
    """Simulate one tomogram in this process, and print what it took as JSON."""
    settings = smaller(preset, fraction)
    start = time.perf_counter()
    counts = simulate(out, preset=preset, settings=settings, seed=1, types=("wbp", "denoised", "clean")).counts
    measured = {
        "seconds": time.perf_counter() - start,
        "shape": settings["specimen.shape_voxel"],
        "particles": sum(counts["SIM_000"].values()),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2,
        "written_gb": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e9,
    }
    print(json.dumps(measured))


def measure(preset: str, fraction: float, folder: Path | None) -> dict[str, float]:
    """Return what one tomogram takes in a process of its own, imports included in its whole time."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, __file__, "--one", str(fraction), "--preset", preset, str(Path(out) / "project")]
        start = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        process_seconds = time.perf_counter() - start
    *said, last = done.stdout.splitlines()
    stages = dict(re.findall(r"(\w+) (\d+\.\d)", said[-1]))
    return json.loads(last) | {stage: float(stages[stage]) for stage in STAGES} | {"process": process_seconds}


def main() -> None:
    """Print a table of volumes and stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--fractions", nargs="+", type=float, default=[1 / 8, 1 / 4, 1 / 2, 1.0])
    parser.add_argument("--preset", default="czii")
    parser.add_argument("--repeats", type=int, default=1, help="the quickest counts")
    parser.add_argument("--one", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        measure_one(arguments.preset, arguments.one, arguments.folder)
        return
    print(f"{arguments.preset}, {os.cpu_count()} cores; seconds; load is the mean of the last minute before the run")
    header = ("shape (z y x)", "particles", *STAGES, "process", "us/voxel", "peak GB", "disk GB", "load")
    print(" ".join(f"{name:>13}" if i == 0 else f"{name:>10}" for i, name in enumerate(header)))
    for fraction in arguments.fractions:
        load = os.getloadavg()[0]
        runs = [measure(arguments.preset, fraction, arguments.folder) for _ in range(arguments.repeats)]
        best = min(runs, key=lambda run: run["process"])
        voxels = math.prod(best["shape"])
        row = [best["particles"], *(f"{best[stage]:.1f}" for stage in STAGES), f"{best['process']:.1f}"]
        row += [f"{1e6 * best['seconds'] / voxels:.2f}", f"{best['peak_gb']:.2f}", f"{best['written_gb']:.2f}"]
        shape = " ".join(map(str, best["shape"]))
        print(f"{shape:>13}", *(f"{cell:>10}" for cell in [*row, f"{load:.1f}"]), flush=True)


def _good_edge(edge: float) -> int:
    """Return the nearest even edge of small factors, so that Fourier transforms of all volumes are as quick."""
    candidates = [n for n in range(8, 2000, 2) if _small_factors(n)]
    return min(candidates, key=lambda n: abs(n - edge))


def _small_factors(number: int) -> bool:
    for prime in (2, 3, 5, 7):
        while number % prime == 0:
            number //= prime
    return number == 1


if __name__ == "__main__":
    main()
