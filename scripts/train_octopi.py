"""Train octopi, a picker, on an annotated copick project of frazil, and let it score itself on one tomogram that it has not seen.

    python scripts/train_octopi.py PROJECT OUT [--run RUN] [--masks] [--epochs 100] [--environment ENV]

Runs `octopi create-targets`, `train`, `segment`, `localize` and `evaluate`. octopi has an environment of its own, which is made if
it is not there (2 GB with torch for the CPU). It writes into OUT only: the project is the static root of a configuration there.
`--masks` learns from the masks that frazil wrote, not from balls at the picks.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

OCTOPI = "octopi==1.7.0"
SEGMENT_ON_CPU = """
import sys, torch
from octopi.pytorch.inference import Predictor
config, model, kind, voxel, run = sys.argv[1:]
torch.cuda.device_count = lambda: 1  # octopi 1.7 refuses to begin without a GPU, and needs none
predictor = Predictor(config, f"{model}/model_config.yaml", f"{model}/best_model.pth", ntta=1, device=torch.device("cpu"))
predictor.batch_predict(
    runIDs=[run], tomo_algorithm=kind, voxel_spacing=float(voxel), name="predict", userid="octopi", sessionid="1"
)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", help="the tomogram to score; the last one by default")
    parser.add_argument("--masks", action="store_true")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--size", type=int, default=48, help="edge of a patch, voxels")
    parser.add_argument("--environment", type=Path, default=Path("octopi-environment"))
    asked = parser.parse_args()
    binaries = asked.environment.resolve() / "bin"
    if not (binaries / "octopi").exists():
        venv.create(asked.environment, with_pip=True)
        call(binaries / "pip", "install", "--quiet", OCTOPI, "torch==2.13.*")
    project, out = asked.project.resolve(), asked.out.resolve()
    out.mkdir(parents=True)
    config = json.loads((project / "copick.json").read_text())
    roots = {"static_root": f"local://{project}", "overlay_root": f"local://{out / 'overlay'}"}
    config_file = out / "copick.json"
    config_file.write_text(json.dumps(config | roots | {"static_fs_args": {}}, indent=2))
    runs = sorted(folder.name for folder in (project / "ExperimentRuns").iterdir())
    held_out = asked.run or runs[-1]
    tomogram = next((project / "ExperimentRuns" / held_out).glob("VoxelSpacing*/*.zarr"))
    kind, voxel = tomogram.stem, tomogram.parent.name.removeprefix("VoxelSpacing")
    user, session, _ = next((project / "ExperimentRuns" / held_out / "Picks").iterdir()).stem.split("_")
    uri, source = f"{kind}@{voxel}", ("--config", config_file)
    target = f"classes:{user}/{session}" if asked.masks else "targets:octopi/1"

    def octopi(command: str, *options: object) -> None:
        began = time.monotonic()
        call(binaries / "octopi", command, *source, *options)
        print(f"{command}: {time.monotonic() - began:.0f} s", flush=True)

    if not asked.masks:
        picked = ("--picks-user-id", user, "--picks-session-id", session)
        octopi("create-targets", *picked, "--tomo-uri", uri, "--target-uri", target)
    octopi(
        "train", "--tomo-uri", uri, "--target-uri", target, "--output", out / "model",
        "--trainRunIDs", ",".join(run for run in runs if run != held_out), "--validateRunIDs", held_out,
        "--num-epochs", asked.epochs, "--val-interval", max(asked.epochs // 10, 1), "--batch-size", 4,
        "--channels", "16,32,32", "--strides", "2,1", "--dim-in", asked.size, "--ncache-tomos", len(runs) - 1,
    )  # fmt: skip
    call(binaries / "python", "-c", SEGMENT_ON_CPU, config_file, out / "model", kind, voxel, held_out)
    octopi("localize", "--seg-uri", "predict:octopi/1", "--voxel-size", voxel, "--runIDs", held_out, "--n-procs", 1)
    octopi(
        "evaluate", "--ground-truth-user-id", user, "--ground-truth-session-id", session, "--predict-user-id", "octopi",
        "--predict-session-id", 1, "--run-ids", held_out, "--output", out / "scores",
    )  # fmt: skip


def call(*arguments: object) -> None:
    if subprocess.run([*map(str, arguments)], check=False, env=os.environ | {"MPLBACKEND": "Agg"}).returncode:
        sys.exit(f"{' '.join(map(str, arguments[:2]))} failed")


if __name__ == "__main__":
    main()
