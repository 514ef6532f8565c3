"""Kill a command before every k-th change of a file, run it again, and compare what is there with a call that nobody killed.

    python tests/faults/inject.py [--points 60] [--seed 0] [COMMAND ...]

A change is whatever the interpreter announces to an audit hook: a file that is opened for writing, renamed, linked or removed, a
folder that is made or removed. Each call is a fork of this process, so that nothing is imported twice, and ends by `os._exit`,
as by a kill: nothing is closed, nothing is cleared. All points of all commands without `--points`.

For a command with ``--force`` the result that it replaces must also be whole after the kill, until it is replaced.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import mmap
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "NO_COLOR": "1"}

KILLED = 137
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

NOT_COMPARED = {".lock", ".turn", ".written", "tensorboard", "log.jsonl", "metrics.csv", "last.ckpt.safetensors"}
"""Locks and journals, logs, and the two files of a training that say how long it took."""


@dataclass(frozen=True)
class Scenario:
    """A command, and the command that it replaces the result of."""

    name: str
    arguments: str
    replaces: str = ""


SIMULATE = (
    "simulate {out} --preset small --shape 24,32,32 --voxel-size 20 --ice-thickness full --levels 1 "
    "--particles-per-class ribosome=1,apo-ferritin=2 --types denoised --mrc"
)
CURATE = "curate {inputs}/project -o {out} --preset smoke --box 16 --validation-run TS_2"
TRAIN = (
    "train {inputs}/boxes -o {out} --preset smoke --epochs 2 --set training.batch_size=4 --set model.base_channels=8 "
    "--set model.embedding_width=8 --set diffusion.timesteps=20 --accelerator cpu"
)
SAMPLE = "sample {inputs}/bundle -o {out} --label all --count 2 --batch-size 2 --device cpu"
EVALUATE = "evaluate {inputs}/boxes {inputs}/volumes -o {out} --only physics"
FILTER = "filter {inputs}/samples -o {out} --evaluation {inputs}/evaluation --by spectrum"
FIGURES = "figures -o {out} --store {inputs}/boxes --examples 1"
COMPARE = "evaluate --compare {inputs}/evaluation {inputs}/evaluation -o {out}"
CALIBRATE = "calibrate {out} --real {inputs}/project --preset small --evaluations 2 --checks 1"
COMPOSE = "compose {inputs}/layouts -o {out} --picks {inputs}/places.csv --units angstrom --shape 16,24,32 --device cpu"
EXPORT = "export {inputs}/project -o {out} --to"

SCENARIOS = [
    Scenario("curate", CURATE),
    Scenario("curate --force", f"{CURATE} --max-padding 0.9 --force", CURATE),
    Scenario("sample", SAMPLE),
    Scenario("sample --force", f"{SAMPLE} --seed 1 --force", SAMPLE),
    Scenario("compose", f"{COMPOSE} --mrc"),
    Scenario("compose --force", f"{COMPOSE} --seed 1 --force", COMPOSE),
    Scenario("export", f"{EXPORT} deepetpicker"),
    Scenario("export --force", f"{EXPORT} warp --force", f"{EXPORT} deepetpicker"),
    Scenario("figures", FIGURES),
    Scenario("figures --force", f"{FIGURES} --seed 1 --force", FIGURES),
    Scenario("compare", COMPARE),
    Scenario("import-weights", "import-weights {inputs}/theirs.pt -o {out}"),
    Scenario("simulate", f"{SIMULATE} --count 2"),
    Scenario("simulate --force", f"{SIMULATE} --count 1 --seed 1 --force", f"{SIMULATE} --count 2"),
    Scenario("evaluate", EVALUATE),
    Scenario("evaluate --force", f"{EVALUATE} --seed 1 --force", EVALUATE),
    Scenario("report", "report {out}", EVALUATE),
    Scenario("filter", FILTER),
    Scenario("filter --force", f"{FILTER} --keep 0.5 --force", FILTER),
    Scenario("train", TRAIN),
    Scenario("train --force", f"{TRAIN} --seed 1 --force", TRAIN),
    Scenario("calibrate", CALIBRATE),
]


@dataclass
class Lab:
    """Where commands are run: always at the same place, since some results say where they are."""

    root: Path
    faults: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.root / "work" / "out"

    def run(self, arguments: str, *, kill_at: int | None = None) -> tuple[int, int]:
        """Run a command in a fork; return its exit code and how many changes it made or was about to make."""
        words = [word.format(inputs=self.root / "inputs", out=self.out) for word in arguments.split()]
        counter = mmap.mmap(-1, 8)
        child = os.fork()
        if not child:
            self._be_the_command(words, counter, kill_at)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), int.from_bytes(counter[:8], "little")

    def _be_the_command(self, words: list[str], counter: mmap.mmap, kill_at: int | None) -> None:
        watched, done = str(self.root), 0

        def hook(event: str, arguments: tuple) -> None:
            nonlocal done
            if event != "open" and event not in CHANGES:
                return
            if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
                return
            path = os.fsdecode(arguments[0]) if not isinstance(arguments[0], int) else ""
            if path.startswith("/") and not path.startswith(watched):
                return
            if done == kill_at:
                os._exit(KILLED)
            done += 1
            counter[:8] = done.to_bytes(8, "little")

        with (self.root / "said.txt").open("w") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        sys.argv = ["frazil", *words]
        sys.addaudithook(hook)
        code = 1
        try:
            from frazil.cli import main

            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def clear(self) -> None:
        for name in ("work", "cache"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        (self.root / "work").mkdir()

    def digests(self) -> dict[str, str]:
        """Return digests of all files that are compared, by name."""
        files = [path for path in sorted(self.out.rglob("*")) if path.is_file()]
        names = {str(path.relative_to(self.out)): path for path in files}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in names.items()
            if not NOT_COMPARED & {*Path(name).parts}
        }

    def must(self, arguments: str) -> None:
        code, _ = self.run(arguments)
        if code:
            raise SystemExit(f"{arguments}: exit code {code}: {(self.root / 'said.txt').read_text()}")

    def attack(self, scenario: Scenario, points: Callable[[int], list[int]]) -> int:
        """Kill a command at some of its changes; return at how many."""
        self._begin(scenario)
        before = self.digests()
        code, changes = self.run(scenario.arguments)
        if code:
            raise SystemExit(f"{scenario.name}: exit code {code}: {(self.root / 'said.txt').read_text()}")
        undisturbed = self.digests()
        chosen = points(changes)
        if before:
            shutil.rmtree(self.root / "before", ignore_errors=True)
            self._begin(scenario)
            shutil.copytree(self.out, self.root / "before", symlinks=True)
        for point in chosen:
            self.clear()
            if before:
                shutil.copytree(self.root / "before", self.out, symlinks=True)
            killed, _ = self.run(scenario.arguments, kill_at=point)
            fault = ""
            if killed not in (KILLED, 0):
                fault = f"ended with {killed} instead of being killed"
            visible = {name: digest for name, digest in self.digests().items() if not name.startswith(".")}
            swapped = (self.out / ".swap").exists() or visible == undisturbed
            if "--force" in scenario.arguments and not swapped and not before.items() <= visible.items():
                fault = f"lost what it had not replaced yet: {sorted(dict(before.items() - visible.items()))[:3]}"
            code, _ = self.run(scenario.arguments)
            if code:
                fault = f"the second call ended with {code}: {(self.root / 'said.txt').read_text().strip()[-300:]}"
            elif (found := self.digests()) != undisturbed:
                fault = f"differs: {sorted({name for name, _ in found.items() ^ undisturbed.items()})[:5]}"
            if fault:
                self.faults.append(f"{scenario.name}, change {point} of {changes}: {fault}")
                print(self.faults[-1], flush=True)
        return len(chosen)

    def _begin(self, scenario: Scenario) -> None:
        self.clear()
        if scenario.replaces:
            self.must(scenario.replaces)

    def make_inputs(self) -> None:
        """Make what the commands read: two tomograms of noise, their boxes, a bundle, samples and their evaluation."""
        inputs = self.root / "inputs"
        os.environ["FRAZIL_CACHE"] = str(self.root / "cache")
        self.clear()
        child = os.fork()
        if not child:
            code = 1
            try:
                _write_inputs(inputs)
                code = 0
            finally:
                os._exit(code)
        if os.waitpid(child, 0)[1]:
            raise SystemExit("the inputs could not be made")
        for name, arguments in {
            "boxes": f"{CURATE}",
            "samples": SAMPLE.replace("--count 2", "--count 4"),
            "evaluation": EVALUATE.replace("volumes", "samples"),
        }.items():
            self.must(arguments)
            shutil.move(self.out, inputs / name)
        shutil.copytree(inputs / "samples", inputs / "volumes")


def _write_inputs(inputs: Path) -> None:
    import numpy as np
    import torch

    from frazil.core.presets import load_preset
    from frazil.core.records import Picks
    from frazil.io.copick.project import write_picks, write_project_config, write_tomogram
    from frazil.model.bundle import BundleCard, save_bundle
    from frazil.model.unet import build_network

    labels, size = ("apo-ferritin", "ribosome"), 10.0
    project = inputs / "project"
    write_project_config(project, name="tiny", labels_radius_angstrom=dict.fromkeys(labels, 40.0))
    random = np.random.default_rng(0)
    for run in ("TS_1", "TS_2"):
        volume = random.standard_normal((24, 32, 32), dtype=np.float32)
        write_tomogram(
            project, run=run, volume=volume, voxel_size_angstrom=size, tomogram_type="denoised",
            tilt_range_degrees=(-48.0, 45.0),
        )  # fmt: skip
        for label in labels:
            centers = random.uniform(2, (21, 29, 29), size=(4, 3)) * size
            write_picks(project, Picks(run, label, centers), user="tester", session="1")
    settings = {
        "diffusion.timesteps": 6,
        "model.embedding_width": 8,
        "sampling.sampler": "ddpm",
        "sampling.steps": 6,
    }
    preset = load_preset("smoke", settings)
    card = BundleCard(
        preset=preset, labels=labels, normalisation=preset.training.normalisation, box_size_voxel=16,
        voxel_size_angstrom=size, tilt_range_degrees=(-48.0, 45.0),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    save_bundle(inputs / "bundle", build_network(preset.model, 2, generator=generator), card)
    layouts = load_preset("smoke", settings | {"model.layout_channels": 8, "model.layout_template_voxel": 9})
    card = card.model_copy(update={"preset": layouts, "radius_angstrom": dict.fromkeys(labels, 40.0)})
    save_bundle(inputs / "layouts", build_network(layouts.model, 2, generator=generator), card)
    (inputs / "places.csv").write_text(
        "experiment,particle_type,x,y,z\nTS_1,ribosome,90,90,80\nTS_2,ribosome,200,90,80\n"
    )
    spec = importlib.util.spec_from_file_location("authors", Path(__file__).parents[1] / "model" / "test_authors.py")
    assert spec is not None
    assert spec.loader is not None
    authors = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(authors)
    torch.save(authors.their_checkpoint(), inputs / "theirs.pt")


def main() -> int:
    """Attack the commands that are asked for; return 1 if something is not as if nothing had happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", help="names of scenarios, e.g. 'sample --force'; all by default")
    parser.add_argument("--points", type=int, help="so many points for each command, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    _import_what_commands_need()
    chance = random.Random(asked.seed)

    def points(changes: int) -> list[int]:
        return sorted(chance.sample(range(changes), min(asked.points or changes, changes)))

    with tempfile.TemporaryDirectory(prefix="frazil-faults-") as root:
        lab = Lab(Path(root).resolve())
        lab.make_inputs()
        total = 0
        for scenario in SCENARIOS:
            if not asked.commands or scenario.name in asked.commands:
                start = time.monotonic()
                tried = lab.attack(scenario, points)
                total += tried
                print(f"{scenario.name}: {tried} kills, {time.monotonic() - start:.0f} s", flush=True)
    print(f"{total - len(lab.faults)} of {total} kills were as if undisturbed")
    return int(bool(lab.faults))


def _import_what_commands_need() -> None:
    import frazil.cli  # noqa: F401
    from frazil.composition import run as _compose  # noqa: F401
    from frazil.dataset import run as _curate  # noqa: F401
    from frazil.evaluation import compare, figures, filter  # noqa: F401
    from frazil.evaluation import run as _evaluate  # noqa: F401
    from frazil.exporting import run as _export  # noqa: F401
    from frazil.model import authors  # noqa: F401
    from frazil.sampling import run as _sample  # noqa: F401
    from frazil.simulation import run as _simulate  # noqa: F401
    from frazil.simulation.calibration import run as _calibrate  # noqa: F401
    from frazil.training import run as _train  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
