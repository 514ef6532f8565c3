"""What all tests share: a strict environment, tiny annotated projects in every format, the real voxels."""

from __future__ import annotations

import os
import socket
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from torch.utils._python_dispatch import TorchDispatchMode

from frazil import cli
from frazil.core.records import Layout, Moments, Picks
from frazil.core.seeds import numpy_generator
from frazil.core.settings import CurateSettings, SourceSettings
from frazil.dataset.curate import curate_boxes
from frazil.dataset.plan import make_plan
from frazil.io.copick import project as copick_writer
from frazil.io.mrc import read_header, write_volume
from frazil.io.sources import open_source
from frazil.io.star import write_particles

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["COLUMNS"] = "200"  # consoles are made when their module is imported

# Every run draws the same examples: a test that fails here fails everywhere, and no example is timed on a busy machine.
settings.register_profile(
    "frazil",
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("frazil")

RADIUS_ANGSTROM = {"apo-ferritin": 30.0, "ribosome": 60.0}


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network beyond this machine, no colors, a wide terminal: what a test sees depends on nothing around it."""
    connect = socket.socket.connect

    def only_here(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise AssertionError(f"a test reaches for the network: {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", only_here)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real CZII voxels; tests that need it carry the marker `real`."""
    folder = os.environ.get("FRAZIL_REAL_DATA")
    if not folder:
        pytest.skip("FRAZIL_REAL_DATA is not set: no real CZII voxels here")
    return Path(folder)


@pytest.fixture
def refuses() -> Callable[..., AbstractContextManager[None]]:
    """Return ``refuses(SomeError, "thing", "value", "remedy")``: the block must raise it, in one line with all of these."""

    @contextmanager
    def check(error: type[Exception], *parts: str) -> Iterator[None]:
        with pytest.raises(error) as caught:
            yield
        message = str(caught.value)
        assert type(caught.value) is error
        assert "\n" not in message
        for part in parts:
            assert part in message

    return check


@dataclass(frozen=True)
class Project:
    """A synthetic annotated project and the truth about it.

    `path` is what `open_source` opens; `picks` are sorted by (run, label), in angstrom, zyx; `volumes` are the
    tomograms by run.
    """

    path: Path
    form: str
    runs: tuple[str, ...]
    labels: tuple[str, ...]
    picks: tuple[Picks, ...]
    volumes: dict[str, np.ndarray]
    voxel_size_angstrom: float
    tomogram_type: str
    tilt_range_degrees: tuple[float, float]


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Return a function that writes a tiny project: noise with a dark ball at every pick.

    ``make_project("copick")``, ``"czii"``, ``"csv"`` or ``"star"``; keywords: ``runs`` (names), ``shape_voxel`` (zyx),
    ``picks_per_label``, ``voxel_size_angstrom``, ``rotations`` (True: every pick has an orientation; not in CSV),
    ``seed``, ``name``.
    """

    def make(
        form: str = "copick",
        *,
        runs: tuple[str, ...] = ("TS_1", "TS_2"),
        shape_voxel: tuple[int, int, int] = (24, 40, 48),
        picks_per_label: int = 4,
        voxel_size_angstrom: float = 10.0125,
        rotations: bool = False,
        levels: int = 1,
        seed: int = 0,
        name: str = "project",
    ) -> Project:
        labels = tuple(sorted(RADIUS_ANGSTROM))
        volumes = {
            run: numpy_generator(seed, "noise", run).standard_normal(shape_voxel, dtype=np.float32) for run in runs
        }
        picks = tuple(
            _draw_picks(run, label, shape_voxel, picks_per_label, voxel_size_angstrom, rotations, seed)
            for run in runs
            for label in labels
        )
        for some in picks:
            _darken(volumes[some.run], some, voxel_size_angstrom)
        project = Project(
            path=tmp_path / name,
            form=form,
            runs=runs,
            labels=labels,
            picks=picks,
            volumes=volumes,
            voxel_size_angstrom=voxel_size_angstrom,
            tomogram_type="denoised",
            tilt_range_degrees=(-48.0, 45.0),
        )
        _WRITERS[form](project, levels)
        return project

    return make


@pytest.fixture
def tiny_project(make_project: Callable[..., Project]) -> Project:
    """The smallest useful copick project: two runs, two classes, four picks each, 24 x 40 x 48 voxels of 10.0125 A."""
    return make_project("copick")


@pytest.fixture
def make_layout_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a tiny untrained bundle that takes layouts; its weights are random, so a layout changes its output."""

    def make(*, name: str = "bundle", maps: tuple[str, ...] = (), height_guidance: float = 1.0, **card) -> Path:
        from frazil.core.presets import load_preset
        from frazil.model.bundle import BundleCard, save_bundle
        from frazil.model.unet import build_network
        from frazil.volume.arrangement import layout_statistics
        from frazil.volume.contrast import Contrast

        labels = tuple(sorted(RADIUS_ANGSTROM))
        settings = {
            "model.front_end": "haar",
            "model.layout_channels": 8,
            "model.layout_template_voxel": 9,
            "model.layout_maps": maps,
            "model.embedding_width": 8,
            "sampling.sampler": "dpm++",
            "sampling.steps": 3,
            "sampling.height_guidance": height_guidance,
            "training.class_dropout": 0.1,
        }
        preset = load_preset("smoke", settings)
        network = build_network(preset.model, len(labels))
        generator = torch.Generator().manual_seed(1)
        for weight in network.parameters():
            weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
        network.layout.templates[1, 0, 3:6, 3:6, 2:8] = 1.0
        layout = Layout(
            np.array([0, 0, 1]), np.array([[5.0, 9, 9], [8, 30, 12], [11, 20, 30]]), np.full((3, 3, 3), np.nan)
        )
        fields = {
            "preset": preset,
            "labels": labels,
            "normalisation": preset.training.normalisation,
            "box_size_voxel": 16,
            "voxel_size_angstrom": 10.0125,
            "tilt_range_degrees": (-48.0, 45.0),
            "radius_angstrom": RADIUS_ANGSTROM,
            "moments": Moments(2.0, 5.0),
            "layouts": layout_statistics([layout], [(20, 40, 48)], 10.0125, RADIUS_ANGSTROM),
            "contrasts": {
                run: Contrast(tilt_range_degrees=(-48.0, 45.0), log_gain=[[gain] * 9] * 15)
                for run, gain in (("TS_5", 0.0), ("TS_7", 0.3))
            },
        }
        save_bundle(tmp_path / name, network, BundleCard(**fields | card))
        return tmp_path / name

    return make


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an untrained bundle of two classes and 8^3 boxes, quick to sample.

    Keywords: ``name`` of the folder, ``timesteps``, ``seed`` of the weights, and fields of `BundleCard`.
    """

    def make(*, name: str = "bundle", timesteps: int = 6, seed: int = 0, **card) -> Path:
        import torch

        from frazil.core.presets import load_preset
        from frazil.model.bundle import BundleCard, save_bundle
        from frazil.model.unet import build_network

        preset = load_preset(
            "smoke",
            {
                "diffusion.timesteps": timesteps,
                "model.embedding_width": 8,
                "sampling.sampler": "ddpm",
                "sampling.steps": 6,
            },
        )
        fields = {
            "preset": preset,
            "labels": tuple(sorted(RADIUS_ANGSTROM)),
            "normalisation": preset.training.normalisation,
            "box_size_voxel": 8,
            "voxel_size_angstrom": 10.0125,
            "tilt_range_degrees": (-48.0, 45.0),
        }
        fields |= card
        network = build_network(
            fields["preset"].model, len(fields["labels"]), generator=torch.Generator().manual_seed(seed)
        )
        save_bundle(tmp_path / name, network, BundleCard(**fields))
        return tmp_path / name

    return make


def _draw_picks(run, label, shape_voxel, count, voxel_size_angstrom, rotations, seed) -> Picks:
    random = numpy_generator(seed, "picks", run, label)
    centers = random.uniform(2, np.array(shape_voxel) - 3, size=(count, 3)) * voxel_size_angstrom
    turned = None
    if rotations:
        turned, _ = np.linalg.qr(random.standard_normal((count, 3, 3)))
        turned *= np.sign(np.linalg.det(turned))[:, None, None]
    return Picks(run=run, label=label, centers_angstrom=centers, rotations=turned)


def _darken(volume, picks: Picks, voxel_size_angstrom: float) -> None:
    grid = (
        np.stack(np.meshgrid(*(np.arange(edge) for edge in volume.shape), indexing="ij"), axis=-1) * voxel_size_angstrom
    )
    for center in picks.centers_angstrom:
        volume[np.linalg.norm(grid - center, axis=-1) < RADIUS_ANGSTROM[picks.label]] -= 4.0


def _write_copick(project: Project, levels: int) -> None:
    copick_writer.write_project_config(project.path, name="tiny", labels_radius_angstrom=RADIUS_ANGSTROM)
    _write_tomograms(project, project.path, levels)
    for picks in project.picks:
        copick_writer.write_picks(project.path, picks, user="tester", session="1")


def _write_czii(project: Project, levels: int) -> None:
    _write_tomograms(project, project.path / "static", levels)
    for picks in project.picks:
        copick_writer.write_picks(project.path / "overlay", picks, user="curation", session="0")


def _write_tomograms(project: Project, root: Path, levels: int) -> None:
    for run in project.runs:
        copick_writer.write_tomogram(
            root,
            run=run,
            volume=project.volumes[run],
            voxel_size_angstrom=project.voxel_size_angstrom,
            tomogram_type=project.tomogram_type,
            levels=levels,
            tilt_range_degrees=project.tilt_range_degrees,
        )


def _write_mrc(project: Project) -> None:
    for run in project.runs:
        write_volume(project.path / f"{run}.mrc", project.volumes[run], project.voxel_size_angstrom)


def _write_csv(project: Project, levels: int) -> None:
    _write_mrc(project)
    lines = ["experiment,particle_type,x,y,z"]
    for picks in project.picks:
        for z, y, x in picks.centers_angstrom / project.voxel_size_angstrom:
            lines.append(f"{picks.run},{picks.label},{x},{y},{z}")
    (project.path / "picks.csv").write_text("\n".join(lines) + "\n")


def _write_star(project: Project, levels: int) -> None:
    _write_mrc(project)
    headers = {run: read_header(project.path / f"{run}.mrc") for run in project.runs}
    for label in project.labels:
        picks = [some for some in project.picks if some.label == label]
        write_particles(
            project.path / f"{label}.star",
            picks,
            headers=headers,
            voxel_size_angstrom=project.voxel_size_angstrom,
            box_size_voxel=64,
            image_names=[[f"{label}.mrc"] * len(some) for some in picks],
        )


_WRITERS = {"copick": _write_copick, "czii": _write_czii, "csv": _write_csv, "star": _write_star}


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, also of such that are not computed (FakeTensorMode)."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        result = operation(*arguments, **(keywords or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.seen:
                storage = tensor.untyped_storage()
                self.seen.add(storage._cdata)
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self.forget, storage._cdata, storage.nbytes())
        return result

    def forget(self, key, size):
        self.seen.discard(key)
        self.live -= size


@pytest.fixture
def live_memory() -> type[LiveMemory]:
    """A context whose `peak` is the most bytes that tensors took at a time."""
    return LiveMemory


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs `frazil ...` and gives exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["frazil", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def dask_cluster(tmp_path):
    """Two Dask workers in processes of their own, on this machine."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=2,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",  # any free port: the usual one may be taken
        local_directory=tmp_path / "dask",
    ) as cluster:
        yield cluster


@pytest.fixture
def make_box_store(make_project, tmp_path):
    """Return a function that writes a box store of two classes: as many boxes of each class train as validate."""

    def make(*, box=8, name="real", split=True, **project):
        source = open_source(make_project("copick", name=f"{name}-project", **project).path, SourceSettings())
        validation = {"validation_runs": ("TS_2",)} if split else {"validation_fraction": 0.0, "split_by": "particle"}
        plan = make_plan(source, SourceSettings(), CurateSettings(box_size_voxel=box, **validation))
        return curate_boxes(source, plan, tmp_path / name).path

    return make


@pytest.fixture
def real_boxes(make_box_store):
    """The smallest useful box store: 8^3 voxels of 10.0125 A, per class 4 boxes for training and 4 held out."""
    return make_box_store()


@pytest.fixture
def make_volumes(tmp_path):
    """Return a function that writes a folder of MRC files: noise, so many of each class, called like `ribosome-00001.mrc`."""

    def make(*, name="made", count=4, box=8, voxel_size_angstrom=10.0125, seed=5, labels=("apo-ferritin", "ribosome")):
        for label in labels:
            for number in range(count):
                volume = numpy_generator(seed, label, number).standard_normal((box,) * 3, dtype=np.float32)
                write_volume(tmp_path / name / f"{label}-{number:05d}.mrc", volume, voxel_size_angstrom)
        return tmp_path / name

    return make
