"""What the tests of workflows share: the command line, a small box store, folders of volumes."""

import sys

import numpy as np
import pytest

from frazil import cli
from frazil.dataset.curate import curate_boxes
from frazil.dataset.plan import make_plan
from frazil.io.mrc import write_volume
from frazil.io.sources import open_source
from frazil.seeds import numpy_generator
from frazil.settings import CurateSettings, SourceSettings


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
