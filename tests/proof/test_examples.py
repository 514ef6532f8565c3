"""Windows for a picker: the classes are where the particles are, whatever was turned, mirrored or pasted."""

import numpy as np
import pytest

from frazil.core.settings import CurateSettings, SourceSettings
from frazil.dataset.plan import make_plan
from frazil.dataset.tomograms.curate import curate_tomograms
from frazil.io.sources import open_source
from frazil.proof.arms import ANNOTATED, Arm
from frazil.proof.examples import PickerExamples


@pytest.fixture
def store(make_project, tmp_path):
    project = make_project(runs=("TS_1",), shape_voxel=(48, 72, 72), picks_per_label=5)
    source = open_source(project.path, SourceSettings())
    plan = make_plan(source, SourceSettings(), CurateSettings(validation_fraction=0))
    return curate_tomograms(source, plan, tmp_path / "store")


@pytest.mark.parametrize("asked", [{"augmented": False}, {}, {"pasted": True}])
def test_classes_are_where_dark_balls_are(store, asked):
    labels = store.description.labels
    examples = PickerExamples({ANNOTATED: store}, labels, Arm(name="any", shares={ANNOTATED: 1}, **asked), seed=0)
    drawn = [examples.draw(0, row) for row in range(12)]
    volumes, classes = (np.stack([some.numpy() for some in column]) for column in zip(*drawn, strict=True))
    halves = [part for edge in classes.shape[1:] for part in (edge, 2)]
    coarse = volumes[:, 0].reshape(12, *halves).mean(axis=(2, 4, 6))
    background = coarse[classes == 0].mean()
    for number in range(1, len(labels) + 1):
        assert coarse[classes == number].mean() < background - 1.5
    again = examples.draw(0, 3)
    assert (again[0].numpy() == volumes[3]).all()


def test_pasting_adds_particles(store):
    labels = store.description.labels

    def marked(**asked):
        examples = PickerExamples({ANNOTATED: store}, labels, Arm(name="any", shares={ANNOTATED: 1}, **asked), seed=0)
        return np.mean([(examples.draw(0, row)[1] > 0).float().mean() for row in range(24)])

    assert marked(pasted=True) > 1.1 * marked()
