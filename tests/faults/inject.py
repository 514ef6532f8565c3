"""Disturb a command, run it again, and compare what is there with a call that nothing disturbed.

    python tests/faults/inject.py [--how kill|full|twice] [--points 60] [--seed 0] [COMMAND ...]

``kill`` ends the command right before its k-th change of a file: whatever the interpreter announces to an audit hook, so a file that
is opened for writing, renamed, linked, or removed, a folder that is made or removed. It ends by `os._exit`, as by a kill: nothing is
closed, nothing is cleared. ``full`` gives it a disk with room for k pages of 4 KB more (a tmpfs: run it in `unshare -rm`); it must
say so in one line. ``twice`` starts it a second time k milliseconds later; one of the two must end well, the other may say that
somebody else works there. All points without `--points`, but 200 for ``twice``.

Each call is a fork of this process, which has imported what the commands need. For a command with ``--force`` the result that it
replaces must also be whole after a kill or on a full disk, until it is replaced.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib.util
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace

os.environ |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "NO_COLOR": "1"}

KILLED = 137
MOST_SECONDS = 300
SPARE_PAGES = 8
"""What a command may take more of a disk than its result."""

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

NOT_COMPARED = {
    ".lock",
    ".turn",
    ".written",
    "frazil.log",
    "tensorboard",
    "log.jsonl",
    "metrics.csv",
    "last.ckpt.safetensors",
}
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
TINY = "--set model.base_channels=8 --set model.channel_multipliers=[1] --set model.embedding_width=8 --set diffusion.timesteps=20"
TRAIN = (
    f"train {{inputs}}/boxes -o {{out}} --preset smoke --epochs 2 --set training.batch_size=4 {TINY} --accelerator cpu"
)
LAYOUTS = (
    f"train {{inputs}}/whole -o {{out}} --preset layout --epochs 1 --set training.batch_size=1 {TINY} --set model.front_end=none "
    "--set training.box_size_voxel=16 --set model.layout_channels=8 --accelerator cpu"
)
DISTILL = (
    "distill {inputs}/layouts {inputs}/whole -o {out} --steps 2 --epochs 1 --set training.batch_size=1 "
    "--set training.box_size_voxel=16"
)
SAMPLE = "sample {inputs}/bundle -o {out} --label all --count 2 --batch-size 2 --device cpu"
EVALUATE = "evaluate {inputs}/boxes {inputs}/volumes -o {out} --only physics"
FILTER = "filter {inputs}/samples -o {out} --evaluation {inputs}/evaluation --by spectrum"
FIGURES = "figures -o {out} --store {inputs}/boxes --examples 1"
COMPARE = "evaluate --compare {inputs}/evaluation {inputs}/evaluation -o {out}"
CALIBRATE = (
    "calibrate {out} --real {inputs}/project --preset small --evaluations 2 --checks 1 --run TS_1 --voxel-size 40"
)
COMPOSE = "compose {inputs}/layouts -o {out} --picks {inputs}/places.csv --units angstrom --shape 16,16,24 --steps 2 --device cpu"
AROUND = "sample {inputs}/layouts -o {out} --label all --count 2 --neighbours typical --steps 2 --device cpu"
PROVE = "prove {inputs}/project -o {out} --train TS_1 --test TS_2 --arm annotated --arm augmented --seeds 1 --steps 2"
COMPLETE = "complete {inputs}/project -o {out} --steps 2"
EXPORT = "export {inputs}/project -o {out} --to"

SCENARIOS = [
    Scenario("curate", CURATE),
    Scenario("curate --force", f"{CURATE} --max-padding 0.9 --force", CURATE),
    Scenario("curate --whole", f"{CURATE} --whole"),
    Scenario("curate --whole --force", f"{CURATE} --whole --force".replace("TS_2", "TS_1"), f"{CURATE} --whole"),
    Scenario("sample", SAMPLE),
    Scenario("sample --force", f"{SAMPLE} --seed 1 --force", SAMPLE),
    Scenario("sample --neighbours", AROUND),
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
    Scenario("train on tomograms", LAYOUTS),
    Scenario("distill", DISTILL),
    Scenario("calibrate", CALIBRATE),
    Scenario("complete", COMPLETE),
    Scenario("prove", PROVE),
    Scenario("prove --force", PROVE.replace("--steps 2", "--steps 1 --force"), PROVE),
]


@dataclass
class Lab:
    """Where commands are run: always at the same place, since some results say where they are."""

    root: Path
    faults: list[str] = field(default_factory=list)
    warms: bool = False

    @property
    def out(self) -> Path:
        return self.root / "work" / "out"

    def run(self, arguments: str, *, kill_at: int | None = None) -> tuple[int, int]:
        """Run a command in a fork; return its exit code and how many changes it made or was about to make."""
        child, counter = self.start(arguments, kill_at=kill_at)
        return _exit_code(child), int.from_bytes(counter[:8], "little")

    def start(self, arguments: str, *, kill_at: int | None = None, said: str = "said.txt") -> tuple[int, mmap.mmap]:
        """Start a command in a fork; return its process, and what counts its changes."""
        words = [word.format(inputs=self.root / "inputs", out=self.out) for word in arguments.split()]
        counter = mmap.mmap(-1, 8)
        child = os.fork()
        if not child:
            signal.alarm(MOST_SECONDS)
            self._be_the_command(words, counter, kill_at, said)
        return child, counter

    def _be_the_command(
        self, words: list[str], counter: mmap.mmap, kill_at: int | None, said_in: str = "said.txt"
    ) -> None:
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

        with (self.root / said_in).open("w") as said:
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
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            if self.warms:
                (self.root / "modules.txt").write_text("\n".join(sys.modules))
            os._exit(code)

    def said(self, file: str = "said.txt") -> str:
        return (self.root / file).read_text(errors="replace").strip()

    def clear(self) -> None:
        (self.root / "work").mkdir(exist_ok=True)
        shutil.rmtree(self.root / "cache", ignore_errors=True)
        for path in (self.root / "work").iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def digests(self) -> dict[str, str]:
        """Return digests of all files that are compared, by name."""
        files = [path for path in sorted(self.out.rglob("*")) if path.is_file()]
        names = {str(path.relative_to(self.out)): path for path in files}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in names.items()
            if not NOT_COMPARED & {*Path(name).parts}
        }

    def must(self, arguments: str) -> int:
        """Run a command that must end well, import what it imported, and return how many changes it made."""
        self.warms = True
        code, changes = self.run(arguments)
        self.warms = False
        if code:
            raise SystemExit(f"{arguments}: exit code {code}: {self.said()}")
        for name in (self.root / "modules.txt").read_text().splitlines():
            if name not in sys.modules and not name.startswith("__"):
                with suppress(Exception):
                    importlib.import_module(name)
        gc.freeze()  # or every fork copies what the collector touches
        return changes

    def kill(self, arguments: str, point: int) -> str:
        """Kill a command before one of its changes; return what is wrong with how it ends."""
        code, _ = self.run(arguments, kill_at=point)
        return "" if code in (KILLED, 0) else f"ended with {code} instead of being killed: {self.said()[-300:]}"

    def full(self, arguments: str, point: int) -> str:
        """Run a command on a disk with so many pages more than it has now; return what is wrong with how it ends."""
        _mount(self.root / "work", pages=self.pages() + point)
        code, _ = self.run(arguments)
        _mount(self.root / "work")
        errors = [line for line in self.said().splitlines() if line.startswith("frazil: ")]
        well = code == 0 or (code == 2 and len(errors) == 1 and "full" in errors[0] and "Traceback" not in self.said())
        return "" if well else f"ended with {code} on a full disk: {self.said()[-300:]}"

    def twice(self, arguments: str, point: int) -> str:
        """Start a command twice, so many milliseconds apart; return what is wrong with how the two end."""
        first, _ = self.start(arguments)
        time.sleep(point / 1000)
        second, _ = self.start(arguments, said="said2.txt")
        ends = [(_exit_code(child), self.said(file)) for child, file in ((first, "said.txt"), (second, "said2.txt"))]
        late = [said for code, said in ends if code == 2 and "another process works here" in said.splitlines()[-1]]
        well = sum(code == 0 for code, _ in ends) + len(late) == 2 and len(late) < 2
        return "" if well else f"ended with {[(code, said[-300:]) for code, said in ends]}"

    def pages(self) -> int:
        disk = os.statvfs(self.root / "work")
        return disk.f_blocks - disk.f_bfree

    def attack(self, scenario: Scenario, how: str, points: Callable[[int], list[int]]) -> int:
        """Disturb a command at some points; return at how many."""
        self._begin(scenario)
        before, start = self.digests(), time.monotonic()
        changes = self.must(scenario.arguments)
        undisturbed = self.digests()
        most = {
            "kill": changes,
            "full": self.pages() + SPARE_PAGES,
            "twice": round(1000 * (time.monotonic() - start)),
        }[how]
        chosen = points(most)
        if before:
            shutil.rmtree(self.root / "before", ignore_errors=True)
            self._begin(scenario)
            shutil.copytree(self.out, self.root / "before", symlinks=True)
        for point in chosen:
            self.clear()
            if before:
                shutil.copytree(self.root / "before", self.out, symlinks=True)
            fault = getattr(self, how)(scenario.arguments, point)
            visible = {name: digest for name, digest in self.digests().items() if not name.startswith(".")}
            swapped = (self.out / ".swap").exists() or visible == undisturbed
            if "--force" in scenario.arguments and not swapped and not before.items() <= visible.items():
                fault = f"lost what it had not replaced yet: {sorted(dict(before.items() - visible.items()))[:3]}"
            code, _ = self.run(scenario.arguments)
            if code:
                fault = f"the second call ended with {code}: {self.said()[-300:]}"
            elif (found := self.digests()) != undisturbed:
                fault = f"differs: {sorted({name for name, _ in found.items() ^ undisturbed.items()})[:5]}"
            if fault:
                self.faults.append(f"{scenario.name}, {how} {point} of {most}: {fault}")
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
        if _exit_code(child):
            raise SystemExit("the inputs could not be made")
        for name, arguments in {
            "boxes": f"{CURATE}",
            "whole": f"{CURATE} --whole",
            "layouts": LAYOUTS,
            "samples": SAMPLE.replace("--count 2", "--count 4"),
            "evaluation": EVALUATE.replace("volumes", "samples"),
        }.items():
            self.must(arguments)
            shutil.move(self.out, inputs / name)
        shutil.copytree(inputs / "samples", inputs / "volumes")


def _exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _mount(folder: Path, *, pages: int | None = None) -> None:
    """Limit the file system at `folder`, or leave it as large as can be."""
    how = "remount," if folder.is_mount() else ""
    size = "100%" if pages is None else pages * os.sysconf("SC_PAGE_SIZE")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{how}size={size}", "tmpfs", str(folder)], check=True)


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
    parser.add_argument("--how", choices=("kill", "full", "twice"), default="kill")
    parser.add_argument(
        "--points", type=float, help="so many for each command, drawn by the seed; below 1 a share of them"
    )
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    import frazil.cli  # noqa: F401

    def points(chance: random.Random, most: int) -> list[int]:
        if asked.how == "twice":
            return [int(most * chance.random() ** 2) for _ in range(int(asked.points or 200))]  # more of them early
        many = round(max(1, asked.points * most if asked.points < 1 else asked.points)) if asked.points else most
        return sorted(chance.sample(range(most), min(many, most)))

    with tempfile.TemporaryDirectory(prefix="frazil-faults-") as root:
        lab = Lab(Path(root).resolve())
        if asked.how == "full":
            (lab.root / "work").mkdir()
            _mount(lab.root / "work")
            shutil.disk_usage = lambda _: SimpleNamespace(free=1 << 50)  # who looks ahead must not spare itself
        lab.make_inputs()
        total = 0
        for scenario in SCENARIOS:
            if not asked.commands or scenario.name in asked.commands:
                start = time.monotonic()
                tried = lab.attack(scenario, asked.how, partial(points, random.Random(asked.seed)))
                total += tried
                print(f"{scenario.name}: {tried} points, {time.monotonic() - start:.0f} s", flush=True)
        if asked.how == "full":
            subprocess.run(["umount", str(lab.root / "work")], check=True)
    print(f"{asked.how}: {total - len(lab.faults)} of {total} were as if undisturbed")
    return int(bool(lab.faults))


if __name__ == "__main__":
    sys.exit(main())
