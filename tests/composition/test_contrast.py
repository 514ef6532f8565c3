"""A bundle that is told contrasts composes tomograms with the power and the gray values of a training tomogram."""

import numpy as np
import pytest

from frazil.composition.contrast import contrast
from frazil.composition.run import compose
from frazil.core.errors import OutputError, RequestError, ShapeError
from frazil.core.settings import SourceSettings
from frazil.dataset.run import curate
from frazil.dataset.tomograms.store import TomogramStore
from frazil.io.sources import open_source
from frazil.model.bundle import load_bundle
from frazil.volume.contrast import tomogram_power


@pytest.fixture
def learned(make_layout_bundle, make_project, tmp_path):
    """A bundle without contrasts, the project and the store of its training tomograms, and what it composed like them."""
    bundle = make_layout_bundle(contrasts={}, tilt_range_degrees=None)
    project = make_project(shape_voxel=(48, 72, 72)).path
    store = curate(project, tmp_path / "store", whole=True, box_size_voxel=16, validation_runs=["TS_2"]).path
    compose(bundle, out=tmp_path / "composed", like=project)
    return bundle, project, store, tmp_path / "composed"


def composed(path, run):
    return (open_source(path, SourceSettings()).read(run).volume - 2) / 5  # the bundle's moments


def test_the_next_tomograms_have_the_contrast_of_the_training_tomogram(learned, tmp_path):
    bundle, project, store, made = learned
    told = contrast(bundle, store, made, tmp_path / "told")
    assert [*told.card.contrasts] == ["TS_1"], "TS_2 validates"
    assert load_bundle(tmp_path / "told").card.contrasts == told.card.contrasts
    compose(tmp_path / "told", out=tmp_path / "next", like=project)
    training = TomogramStore.open(store).array("TS_1")[:].astype(np.float32)
    before, after = composed(made, "TS_1"), composed(tmp_path / "next", "TS_1")
    ranks = [0.001, 0.01, 0.1, 0.9, 0.99, 0.999]
    for measure in (tomogram_power, lambda volume: np.quantile(volume, ranks)):
        far, near = (np.abs(measure(volume) - measure(training)).mean() for volume in (before, after))
        assert near < 0.6 * far  # no gain is above MOST_LOG_GAIN, and this network has learned nothing


def test_other_layouts_count_against_every_training_tomogram(learned, make_project, tmp_path):
    bundle, _, store, _ = learned
    other = make_project(name="other", runs=("TS_7",), shape_voxel=(48, 72, 72), seed=1).path
    compose(bundle, out=tmp_path / "like-other", like=other)
    assert [*contrast(bundle, store, tmp_path / "like-other", tmp_path / "told").card.contrasts] == ["TS_1"]


def test_what_has_no_counterpart_is_refused(learned, make_layout_bundle, make_project, tmp_path, refuses):
    bundle, project, store, made = learned
    out = tmp_path / "told"
    contrast(bundle, store, made, out)
    with refuses(OutputError, "bundle", "choose another folder"):
        contrast(bundle, store, made, bundle)
    with refuses(RequestError, "knows contrasts already"):
        contrast(out, store, made, tmp_path / "again")
    compose(bundle, out=tmp_path / "tilted", like=project, tilt_range=(-60.0, 60.0))
    with refuses(RequestError, "tilted", f"those of {project} again"):
        contrast(bundle, store, tmp_path / "tilted", tmp_path / "again")
    thin = make_project(name="thin", shape_voxel=(24, 72, 72)).path
    thin_store = curate(thin, tmp_path / "thin-store", whole=True, box_size_voxel=16).path
    compose(bundle, out=tmp_path / "like-thin", like=thin)
    with refuses(ShapeError, "thin-store: TS_", "24,72,72 voxels"):
        contrast(bundle, thin_store, tmp_path / "like-thin", tmp_path / "again")
    make_layout_bundle(contrasts={})  # takes the place of the other
    with refuses(RequestError, "composed", "another bundle", "compose it with"):
        contrast(bundle, store, made, out)
