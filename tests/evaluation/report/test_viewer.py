"""Volumes for the viewer."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import struct
from importlib.resources import files

import numpy as np
import pytest

from frazil.evaluation.report import viewer as evaluation_viewer
from frazil.evaluation.report.viewer import nifti_bytes, niivue_licence, niivue_script, niivue_version, viewer


def voxels(data: str) -> np.ndarray:
    content = gzip.decompress(base64.b64decode(data))
    x, y, z = struct.unpack_from("<3h", content, 42)
    return np.frombuffer(content, np.uint8, offset=352).reshape(z, y, x)


def test_nifti_header_and_voxels():
    volume = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    content = nifti_bytes(volume, voxel_size=10.0, slope=0.5, intercept=-4.0)
    assert struct.unpack_from("<i", content, 0) == (348,)
    assert content[344:348] == b"n+1\0"
    assert struct.unpack_from("<4h", content, 40) == (3, 4, 3, 2)
    assert struct.unpack_from("<2h", content, 70) == (2, 8)
    assert struct.unpack_from("<3f", content, 108) == (352.0, 0.5, -4.0)
    # the affine sends voxel (2, 1, 1) in x, y, z, the centre of the box, to the origin
    affine = np.array(struct.unpack_from("<12f", content, 280)).reshape(3, 4)
    assert affine @ [2, 1, 1, 1] == pytest.approx([0, 0, 0])
    assert affine[:, :3] == pytest.approx(10 * np.eye(3))
    assert np.array_equal(np.frombuffer(content, np.uint8, offset=352), volume.ravel())


def test_all_volumes_are_embedded_where_there_is_room(examples):
    shown = examples(per_class=2)
    own = viewer(shown, 10.0)
    assert own.binning == 1
    assert len(own.volumes) == 8
    for volume in own.volumes:
        assert np.array_equal(voxels(volume.data), getattr(shown, volume.kind)[volume.row])


def test_without_room_every_class_keeps_its_first_real_and_generated_volume(examples, monkeypatch):
    one = len(viewer(examples(per_class=1), 10.0).volumes[0].data)
    monkeypatch.setattr(evaluation_viewer, "BUDGET_BYTES", round(5.5 * one))
    own = viewer(examples(per_class=3), 10.0)
    assert own.binning == 1
    firsts = {(volume.kind, volume.label) for volume in own.volumes}
    assert len(firsts) == 4
    assert len(own.volumes) < 12


def test_large_boxes_are_averaged_until_they_fit(examples, monkeypatch):
    one = len(viewer(examples(per_class=1), 10.0).volumes[0].data)
    monkeypatch.setattr(evaluation_viewer, "BUDGET_BYTES", 2 * one)
    shown = examples(per_class=1)
    own = viewer(shown, 10.0)
    assert own.binning == 2
    first = voxels(own.volumes[0].data)
    assert first.shape == (8, 8, 8)
    assert first[0, 0, 0] == pytest.approx(shown.generated[0][:2, :2, :2].mean(), abs=0.51)


def test_surface_lies_between_particle_and_ice(examples):
    assert -3.5 < viewer(examples(), 10.0).surface < 0


def test_vendored_script_is_the_one_that_its_label_names():
    about = json.loads(files("frazil.evaluation.report").joinpath("assets", "niivue.json").read_text())
    script = gzip.decompress(base64.b64decode(niivue_script()))
    assert hashlib.sha256(script).hexdigest() == about["sha256"]
    assert niivue_version() == about["version"]
    assert "BSD 2-Clause" in niivue_licence()
