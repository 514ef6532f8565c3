"""The Python interface: the way from nothing to an evaluation, and one style for all its functions."""

import inspect
import subprocess
import sys

import pytest

import frazil


def test_from_nothing_to_an_evaluation(tmp_path):
    small = {"specimen.shape_voxel": [48, 96, 96], "specimen.particles_per_class": 3}
    project = frazil.simulate(tmp_path / "project", preset="small", settings=small, count=2, types=("denoised",))
    store = frazil.curate(
        project.path, tmp_path / "store", preset="smoke", box_size_voxel=16, validation_runs=("SIM_001",)
    )
    assert set(store.description.labels) <= set(frazil.load().labels)

    network = {"model.base_channels": 8, "model.embedding_width": 8, "training.epochs": 1, "sampling.steps": 2}
    run = frazil.train(store.path, tmp_path / "run", preset="smoke", settings=network)
    samples = frazil.sample(run.path, out=tmp_path / "samples", label="all", count=2, device="cpu", copick=False)
    assert len(samples) == 2 * len(store.description.labels)
    assert samples[0].shape == (16, 16, 16)

    found = frazil.evaluate(store.path, samples.path, tmp_path / "evaluation", only=["physics"], report=False)
    for result in (project, store, run, samples, found):
        assert str(tmp_path) in repr(result)
    for result in (samples, found):
        assert result._repr_html_()


FOLDERS = {"bundle", "generated", "out", "real", "source", "store"}


@pytest.mark.parametrize("name", ["simulate", "curate", "train", "sample", "evaluate", "filter_samples"])
def test_functions_take_folders_as_text_or_path_and_options_as_keywords(name):
    parameters = inspect.signature(getattr(frazil, name)).parameters.values()
    positional = {parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD}
    assert positional <= FOLDERS
    for parameter in parameters:
        if parameter.name in FOLDERS:
            assert {"str", "Path"} <= set(parameter.annotation.replace("|", " ").split())
    assert {"out", "force"} <= {parameter.name for parameter in parameters}


def test_everything_is_documented_and_there_when_asked_for():
    for name in frazil.__all__:
        assert getattr(frazil, name).__doc__
    with pytest.raises(AttributeError, match="'simulates'"):
        frazil.simulates  # noqa: B018


def test_importing_frazil_imports_nothing_heavy():
    script = "import sys, frazil; print([name for name in ('torch', 'numpy', 'pydantic') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
