"""Fine-tune and train from scratch for the same CPU time, with several seeds: ``fine_tuning.py STORE TEST BASE OUT``.

STORE has the few boxes to learn from, TEST the same tomograms cut to the size that is trained on: its validation boxes are held out. Every
arm is trained with every seed on one thread for the same CPU time, so that a busy machine changes little. Loss, spectra, wedge, gray
values and rings against held-out boxes, as in ablation.py; without training, BASE itself. Interrupted, it goes on. Prints Markdown: mean
± standard deviation over seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from ablation import CPU_CLOCK, compare, held_out, measure
from frazil.core.files import write_json
from frazil.dataset.store import BoxStore

TURNS, SHIFTS = ("--half-turns",), ("--half-turns", "--shift", "2")
ARMS: dict[str, tuple[bool, tuple[str, ...]]] = {
    "from scratch": (False, ()),
    "from scratch, half turns": (False, TURNS),
    "from scratch, half turns, shifts of 2": (False, SHIFTS),
    "fine-tuned": (True, ()),
    "fine-tuned, half turns": (True, TURNS),
    "fine-tuned, half turns, shifts of 2": (True, SHIFTS),
    "fine-tuned, learning rate 1e-4": (True, ("--learning-rate", "1e-4")),
    "fine-tuned, encoder frozen": (True, ("--freeze", "encoder")),
}
"""Name -> begins with BASE, further options of frazil train."""

PRETRAINED_ONLY = "BASE, not trained on"


def train(arguments: argparse.Namespace, run: Path, arm: str, seed: int) -> None:
    """Train by the command line, on one thread, until the CPU time is used."""
    from_base, options = ARMS[arm]
    command = [
        "train",
        str(arguments.store),
        "--out",
        str(run),
        "--preset",
        "fast",
        "--epochs",
        "100000",
        "--seed",
        str(seed),
    ]
    command += ["--max-time", str(arguments.minutes), "--validate-every", "100000", *options]
    command += ["--box", str(arguments.box)] if arguments.box else []
    command += ["--from", str(arguments.base), *arguments.base_options] if from_base else []
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", CPU_CLOCK, *command], check=True, env=environment)
    write_json(run / "trained.json", {"cpu_minutes": arguments.minutes})


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--box", type=int, help="trained on, if smaller than the boxes of STORE")
    parser.add_argument("--minutes", type=float, default=3.0, help="CPU time of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--count", type=int, default=8, help="samples of each class")
    parser.add_argument(
        "--base-options", nargs="*", default=[], help="of frazil train with --from, e.g. --keep-classes"
    )
    arguments = parser.parse_args()
    test = BoxStore.open(arguments.test)
    real, real_labels = held_out(test)
    base = arguments.out / "base" / "result.json"
    if not base.exists():
        (arguments.out / "base").mkdir(parents=True, exist_ok=True)
        shutil.copytree(arguments.base, arguments.out / "base" / "bundle", dirs_exist_ok=True)
        write_json(
            base, {"arm": PRETRAINED_ONLY, "seed": 0} | measure(base.parent, arguments.count, test, real, real_labels)
        )
    for seed in arguments.seeds:
        for arm in arguments.arms:
            run = arguments.out / f"{arm}, seed {seed}".replace(" ", "-").replace(",", "")
            if (run / "result.json").exists():
                continue
            if not (run / "trained.json").exists():
                train(arguments, run, arm, seed)
            write_json(
                run / "result.json", {"arm": arm, "seed": seed} | measure(run, arguments.count, test, real, real_labels)
            )
    half, names = np.arange(len(real)) % 2 == 0, np.array(real_labels)
    floor = compare(real[half], names[half].tolist(), real[~half], names[~half].tolist())
    found = [json.loads(path.read_text()) for path in arguments.out.glob("*/result.json")]
    columns = [name for name in found[0] if name not in ("arm", "seed")]
    print("| | seeds | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 2))
    cells = [f"{floor[name]:.3f}" if name in floor else "" for name in columns]
    print("| floor: held-out halves | | " + " | ".join(cells) + " |")
    for arm in (PRETRAINED_ONLY, *ARMS):
        rows = [one for one in found if one["arm"] == arm]
        if rows:
            values = [np.array([row.get(name, np.nan) for row in rows]) for name in columns]
            spread = [f" ± {value.std(ddof=1):.3f}" if len(value) > 1 else "" for value in values]
            cells = [f"{value.mean():.3f}{text}" for value, text in zip(values, spread, strict=True)]
            print(f"| {arm} | {len(rows)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
