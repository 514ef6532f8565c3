"""Volumes for the viewer."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
from importlib.resources import files

import numpy as np
import pytest

from frazil.evaluation.report import viewer as evaluation_viewer
from frazil.evaluation.report.viewer import niivue, viewer


def voxels(data: str) -> np.ndarray:
    """Read what the viewer gets; NiiVue takes z and y as pointing down."""
    return np.load(io.BytesIO(gzip.decompress(base64.b64decode(data))))[::-1, ::-1]


def test_the_header_has_the_length_that_the_script_expects(examples):
    content = gzip.decompress(base64.b64decode(viewer(examples(box=16)).volumes[0].data))
    script = (files("frazil.evaluation.report") / "assets" / "viewer.js").read_text()
    assert f"HEADER_BYTES = {len(content) - 16**3};" in script


def test_all_volumes_are_embedded_where_there_is_room(examples):
    shown = examples(per_class=2)
    own = viewer(shown)
    assert own.binning == 1
    assert len(own.volumes) == 8
    for volume in own.volumes:
        assert np.array_equal(voxels(volume.data), shown.sets[volume.kind].volumes[volume.row])


def test_without_room_every_class_keeps_its_first_real_and_generated_volume(examples, monkeypatch):
    one = len(viewer(examples(per_class=1)).volumes[0].data)
    monkeypatch.setattr(evaluation_viewer, "BUDGET_BYTES", round(5.5 * one))
    own = viewer(examples(per_class=3))
    assert own.binning == 1
    firsts = {(volume.kind, volume.label) for volume in own.volumes}
    assert len(firsts) == 4
    assert len(own.volumes) < 12


def test_large_boxes_are_averaged_until_they_fit(examples, monkeypatch):
    one = len(viewer(examples(per_class=1)).volumes[0].data)
    monkeypatch.setattr(evaluation_viewer, "BUDGET_BYTES", 2 * one)
    shown = examples(per_class=1)
    own = viewer(shown)
    assert own.binning == 2
    first = voxels(own.volumes[0].data)
    assert first.shape == (8, 8, 8)
    assert first[0, 0, 0] == pytest.approx(shown.generated.volumes[0][:2, :2, :2].mean(), abs=0.51)


def test_surface_lies_between_particle_and_ice(examples):
    assert -3.5 < viewer(examples()).surface < 0


def test_vendored_script_is_the_one_that_its_label_names():
    about = json.loads(files("frazil.evaluation.report").joinpath("assets", "niivue.json").read_text())
    assert hashlib.sha256(gzip.decompress(base64.b64decode(niivue()["script"]))).hexdigest() == about["sha256"]
    assert niivue()["version"] == about["version"]
    assert "BSD 2-Clause" in niivue()["license"]
