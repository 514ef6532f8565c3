"""Change what commands read, at random, and watch how they end: well, or with one line and exit code 2, soon and in 2 GB.

    python tests/fuzz/mutate.py [--cases 10000] [--seed 0] [TARGET ...]

A case is a copy of a folder in which one file was damaged, edited, or replaced by something that is no file, or an option
with a hostile value. Each command is a fork of this process, so that nothing is imported twice.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import mmap
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

MOST_SECONDS = 40
MOST_BYTES = 2 << 30
NUMBERS = [
    "nan",
    "inf",
    "-1",
    "0",
    "1e300",
    "1e-9",
    "-1e9",
    "10" * 20,
    "9" * 5000,
    "1" + "0" * 20,
    "0x10",
    "[/b]",
    "\ud800",
    "",
]
VALUES: list[Any] = [
    *(None, True, -1, 0, 10**9, 10**18, 10**30, 1e308, -1e308, "", "x", "[/b]", "[red]y", "../../x", "/etc/passwd", "\ud800"),
    *("a\x00b", "\u202e", "=HYPERLINK(1)", [], {}, [[]], [1, 2], {"a": 1}, ["x"] * 1000, "y" * 100_000, [10**9] * 3),
]  # fmt: skip
DOCUMENTS = [
    *(b"", b"\x00" * 64, b"\xff\xfe", b"{", b"null", b"[]", b"{}", b"0", b"[" * 100_000, b'{"a":' * 100_000),
    *(b'{"schema_version": ' + b"9" * 5000 + b"}", b"a = " + b"[" * 100_000, b"a = " + b"9" * 5000, b"\x1f\x8b\x08" + b"\x00" * 64),
    *(b'{"kind": "\\ud800"}', b"a,b\n" * 50_000, b"PK\x03\x04" + b"\x00" * 64, "ä\u202e[/b]".encode() * 99, b"NaN", b'{"a": NaN}'),
]  # fmt: skip


def _inject() -> ModuleType:
    spec = importlib.util.spec_from_file_location("inject", Path(__file__).parents[1] / "faults" / "inject.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["inject"] = module
    spec.loader.exec_module(module)
    return module


inject = _inject()


@dataclass(frozen=True)
class Target:
    """A command, the folder that it reads (copied to ``{out}``'s neighbor ``{input}``), and which of its files are changed."""

    name: str
    folder: str
    files: tuple[str, ...]
    command: str


CUTTING = "--preset smoke --box 16"
TARGETS = [
    Target("copick", "project", ("**/*.json", "**/.z*", "**/0/*/*/*"), f"curate {{input}} -o {{out}} {CUTTING} --validation-run TS_2"),
    Target("mrc", "mrc", ("*.mrc", "*.csv"), f"curate {{input}} -o {{out}} {CUTTING} --split particle"),
    Target("star", "star", ("*.star",), f"curate {{input}} -o {{out}} {CUTTING} --split particle --units voxel"),
    Target("bundle", "bundle", ("*.json", "*.safetensors"), "sample {input} -o {out} --label ribosome --device cpu --steps 1 --sampler ddim"),
    Target("requests", "tables", ("requests.csv",), "sample {inputs}/bundle -o {out} --requests {input}/requests.csv --device cpu"),
    Target("samples", "samples", ("*.json", "*.star", ".written/*", "volumes/*"), "sample {inputs}/bundle -o {input} --label all --count 4 --batch-size 2 --device cpu"),
    Target("filter", "evaluation", ("metrics.json", "scores.csv", "*.csv"), "filter {inputs}/samples -o {out} --evaluation {input} --by spectrum"),
    Target("boxes", "boxes", ("*.json", "*.csv", "**/.z*", "**/0.0.0.0"), "evaluate {input} {inputs}/volumes -o {out} --only physics"),
    Target("volumes", "volumes", ("*.json", "volumes/*"), "evaluate {inputs}/boxes {input} -o {out} --only physics"),
    Target("report", "evaluation", ("*.json", "*.npz"), "report {input}"),
    Target("preset", "tables", ("preset.toml",), "simulate {out} --preset {input}/preset.toml --types denoised"),
    Target("simulated", "simulated", ("simulation.json", "**/tomogram.json", "copick.json", ".written/*"), f"{inject.SIMULATE} --count 1"),
    Target("training", "training", ("*.json", "**/*.json", "**/*.safetensors", ".written/*"), inject.TRAIN),
    Target("whole", "whole", ("*.json", "*.csv", "*.npz", "**/.z*", "**/0.0.0"), inject.LAYOUTS.replace("{inputs}/whole", "{input}") + " --max-time 00:00:01"),
    Target("layouts", "layouts/bundle", ("*.json", "*.safetensors"), inject.COMPOSE.replace("{inputs}/layouts", "{input}")),
    Target("places", "tables", ("places.csv",), inject.COMPOSE.replace("{inputs}/places", "{input}/places")),
    Target("composed", "composed", ("composition.json", "**/tomogram.json", "copick.json", "tables/*", ".written/*"), inject.COMPOSE),
    Target("export", "project", ("**/*.json", "**/.z*"), "export {input} -o {out} --to warp"),
    Target("weights", "tables", ("theirs.pt",), "import-weights {input}/theirs.pt -o {out}"),
    Target("proof", "proof", ("*.json", "trials/**/*.json", "trials/**/*.csv", "stores/**/*.json", "stores/**/0.0.0", ".written/*"), inject.PROVE),
    Target("compare", "evaluation", ("*.json", "*.npz"), "evaluate --compare {input} {inputs}/evaluation -o {out}"),
]  # fmt: skip
OPTIONS = [
    *("sample {inputs}/bundle -o {out} --label ribosome --count=", "sample {inputs}/bundle -o {out} --label ribosome --batch-size="),
    *(f"curate {{inputs}}/project -o {{out}} {CUTTING} --dry-run --{name}=" for name in ("box", "resample-to", "voxel-size", "tilt-range", "level", "seed", "voxel-spacing")),
    *(f"simulate {{out}} --preset small --shape 24,32,32 --{name}=" for name in ("count", "voxel-size", "shape", "dose", "tilt-range", "tilt-step", "defocus", "seed", "workers", "levels", "particles-per-class")),
    *(f"train {{inputs}}/boxes -o {{out}} --preset smoke --epochs 1 --{name}=" for name in ("epochs", "max-time", "set training.batch_size")),
    *(f"prove {{inputs}}/project -o {{out}} --train TS_1 --test TS_2 --arm annotated --seeds 1 --steps 1 --{name}=" for name in ("seeds", "steps", "weight", "mixture", "voxel-size", "min-score")),
    *(f"complete {{inputs}}/project -o {{out}} --run TS_1 --steps 1 --{name}=" for name in ("sure", "steps", "seed", "run")),
    *("sample {inputs}/bundle -o {out} --label ribosome --position=0.5,0.5,", "evaluate {inputs}/boxes {inputs}/volumes -o {out} --only nothing --threads="),
]  # fmt: skip


class Fuzz:
    """Draws and runs cases."""

    def __init__(self, root: Path, seed: int) -> None:
        self.lab, self.chance, self.faults = inject.Lab(root), random.Random(seed), []
        self.inputs, self.input = root / "inputs", root / "work" / "input"
        self.seconds: dict[Target, float] = {}

    def make_inputs(self) -> None:
        """Make what the commands read."""
        self.lab.make_inputs()
        made = {
            "simulated": f"{inject.SIMULATE} --count 1",
            "training": inject.TRAIN,
            "composed": inject.COMPOSE,
            "proof": inject.PROVE,
        }
        for name, arguments in made.items():
            self.lab.must(arguments)
            shutil.move(self.lab.out, self.inputs / name)
        child = os.fork()
        if not child:
            code = 1
            try:
                _write_more(self.inputs)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0, "the inputs could not be made"
        for name in ("places.csv", "theirs.pt"):
            shutil.copy(self.inputs / name, self.inputs / "tables")
        for target in TARGETS:  # each can be done, and what it imports need not be imported in each case
            place = self.place(target)
            self.lab.clear()
            shutil.copytree(self.inputs / target.folder, place, symlinks=True)
            start = time.monotonic()
            self.lab.must(target.command.replace("{input}", str(place)))
            self.seconds[target] = time.monotonic() - start

    def draw(self, targets: list[Target]) -> None:
        """Run one case."""
        self.lab.clear()
        if self.chance.random() < 0.15:
            words = (
                self.chance.choice(OPTIONS)
                + self.chance.choice(NUMBERS).encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
            ).split(" ")
            self.run("option", words)
            return
        (target,) = self.chance.choices(
            targets, [1 / self.seconds[target] for target in targets]
        )  # the quick ones more often
        place = self.place(target)
        shutil.copytree(self.inputs / target.folder, place, symlinks=True)
        files = sorted({path for pattern in target.files for path in place.glob(pattern) if path.is_file()})
        file = self.chance.choice(files)
        how = self.change(file)
        self.run(f"{target.name}: {how} of {file.relative_to(place)}", target.command.split(" "))

    def place(self, target: Target) -> Path:
        """Return where the copy is that is damaged."""
        return self.lab.out if target.folder in ("simulated", "training", "composed", "proof") else self.input

    def change(self, file: Path) -> str:
        """Do something bad to a file, and say what."""
        chance, content = self.chance, file.read_bytes()
        how = chance.choice(["bytes", "cut", "document", "no file", *["values"] * 6])
        if how == "no file":
            file.unlink()
            kind = chance.choice(["missing", "folder", "pipe", "device", "loop"])
            if kind == "folder":
                file.mkdir()
            elif kind == "pipe":
                os.mkfifo(file)
            elif kind != "missing":
                file.symlink_to("/dev/zero" if kind == "device" else file)
            return kind
        if how == "document":
            file.write_bytes(chance.choice(DOCUMENTS))
        elif how == "cut" or not content:
            file.write_bytes(content[: chance.randrange(len(content) + 1)])
        elif how == "values" and (changed := self.other_values(file, content)) is not None:
            file.write_bytes(changed)
        else:
            damaged = bytearray(content)
            for _ in range(chance.choice([1, 1, 4, 50])):
                damaged[chance.randrange(min(len(damaged), chance.choice([64, 1024, len(damaged)])))] = (
                    chance.randrange(256)
                )
            file.write_bytes(damaged)
        return how

    def other_values(self, file: Path, content: bytes) -> bytes | None:
        """Return a document or table with another value somewhere, None for other files."""
        chance = self.chance
        if file.suffix == ".json" or file.name.startswith(".z"):
            document = json.loads(content)
            holder: Any = document
            while isinstance(holder, dict | list) and holder:
                key = chance.choice(list(holder)) if isinstance(holder, dict) else chance.randrange(len(holder))
                if not isinstance(holder[key], dict | list) or not holder[key] or chance.random() < 0.25:
                    if chance.random() < 0.15:
                        del holder[key]
                    else:
                        holder[key] = chance.choice(VALUES)
                    break
                holder = holder[key]
            return json.dumps(document).encode()
        if file.suffix in (".csv", ".star", ".toml"):
            lines = content.decode().split("\n")
            row = chance.randrange(len(lines))
            separator = "," if file.suffix == ".csv" else " "
            cells = lines[row].split(separator)
            cells[chance.randrange(len(cells))] = str(chance.choice([*NUMBERS, *VALUES]))
            lines[row] = separator.join(cells)
            return "\n".join(lines).encode("utf-8", "surrogatepass")
        return None

    def run(self, what: str, words: list[str]) -> None:
        """Run a command, and note how it ended if that is not as promised."""
        places = {"{inputs}": self.inputs, "{input}": self.input, "{out}": self.lab.out}
        for name, place in places.items():
            words = [word.replace(name, str(place)) for word in words]
        start, child = time.monotonic(), os.fork()
        if not child:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(MOST_SECONDS)
            resource.setrlimit(resource.RLIMIT_DATA, (2 * MOST_BYTES, 2 * MOST_BYTES))
            self.lab._be_the_command(words, mmap.mmap(-1, 8), None)
        _, status, usage = os.wait4(child, 0)
        code, said = os.waitstatus_to_exitcode(status), (self.lab.root / "said.txt").read_text(errors="replace")
        errors = [line for line in said.splitlines() if line.startswith("frazil: ")]
        fault = ""
        if code not in (0, 2) or "Traceback" in said:
            fault = f"ended with {code}" + (" (too slow)" if code == -signal.SIGALRM else "")
        elif code == 2 and len(errors) != 1 and "Usage:" not in said:
            fault = "did not say why in one line"
        elif usage.ru_maxrss * 1024 > MOST_BYTES:
            fault = f"took {usage.ru_maxrss >> 10} MB"
        if fault:
            shown = "\n    ".join(said.strip().splitlines()[-8:])
            self.faults.append(
                f"{what}: {fault}, {time.monotonic() - start:.0f} s: {' '.join(words)[:300]}\n    {shown[-1200:]}"
            )
            print(self.faults[-1].encode("utf-8", "backslashreplace").decode(), flush=True)


def _write_more(inputs: Path) -> None:
    import numpy as np

    from frazil.io.mrc import write_volume

    random = np.random.default_rng(1)
    for form in ("mrc", "star", "tables"):
        (inputs / form).mkdir()
    volume = random.standard_normal((24, 32, 32), dtype=np.float32)
    for form in ("mrc", "star"):
        write_volume(inputs / form / "TS_1.mrc", volume, 10.0)
    places = random.uniform(2, 22, size=(8, 3)).round(2).tolist()
    rows = [f"TS_1,{label},{x},{y},{z}" for (x, y, z), label in zip(places, ("ribosome", "apo") * 4, strict=True)]
    (inputs / "mrc" / "picks.csv").write_text("\n".join(["experiment,particle_type,x,y,z", *rows, ""]))
    columns = ("rlnTomoName", "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
    head = ["data_particles", "", "loop_", *(f"_{name} #{number}" for number, name in enumerate(columns, 1))]
    (inputs / "star" / "ribosome.star").write_text("\n".join([*head, *(f"TS_1 {x} {y} {z}" for x, y, z in places), ""]))
    tables = inputs / "tables"
    (tables / "requests.csv").write_text("label,x,y,z,count\nribosome,0.5,0.5,0.5,2\napo-ferritin,0.1,0.2,0.3,1\n")
    (tables / "preset.toml").write_text(
        'base = "small"\n[specimen]\nshape_voxel = [24, 32, 32]\nvoxel_size_angstrom = 20.0\nparticles_per_class = 1\n'
        'ice_thickness_angstrom = "full"\nice_tilt_degrees = [0.0, 0.0]\n[microscope.tilts]\n'
        "dose_e_per_angstrom2 = 60.0\nrange_degrees = [-45.0, 45.0]\n"
    )


def main() -> int:
    """Run cases; return 1 if one did not end as promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(target.name for target in TARGETS)}; all by default")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    import frazil.cli  # noqa: F401

    with tempfile.TemporaryDirectory(prefix="frazil-fuzz-") as root:
        fuzz = Fuzz(Path(root).resolve(), asked.seed)
        fuzz.make_inputs()
        targets = [target for target in TARGETS if not asked.targets or target.name in asked.targets]
        start = time.monotonic()
        for number in range(1, asked.cases + 1):
            fuzz.draw(targets)
            if number % 250 == 0:
                print(f"{number - len(fuzz.faults)} of {number} cases ended well so far", flush=True)
        print(f"{asked.cases - len(fuzz.faults)} of {asked.cases} cases ended well, {time.monotonic() - start:.0f} s")
    return int(bool(fuzz.faults))


if __name__ == "__main__":
    sys.exit(main())
