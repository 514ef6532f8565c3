"""Pictures of volumes."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from frazil.evaluation.report import gallery as evaluation_gallery
from frazil.evaluation.report.gallery import gallery, pair_pictures, png_uri


def pixels(uri: str) -> np.ndarray:
    kind, data = uri.split(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_png_keeps_every_grey_value():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(pixels(png_uri(image)), image)


def test_slices_stand_upright_beneath_each_other(examples):
    """The beam points up: the first row of the XZ slice, z = 0, is its lowest."""
    shown = examples(box=16)
    volume = shown.generated.volumes[0]
    picture = pixels(gallery(shown, 10.0).classes[0].generated[0].picture)
    assert picture.shape == (3 * 16 + 4, 16)
    assert np.array_equal(picture[:16], volume[8][::-1])
    assert np.array_equal(picture[18:34], volume[:, 8][::-1])
    assert np.array_equal(picture[36:], volume[:, :, 8][::-1])


def test_scale_bar_is_as_long_as_it_says(examples):
    own = gallery(examples(box=16), 10.0)
    assert own.bar_share * 16 * 10.0 == pytest.approx(10 * own.bar_nm)


def test_every_class_has_its_real_and_generated_volumes(examples):
    own = gallery(examples(per_class=3), 10.0)
    assert [(row.label, len(row.real), len(row.generated)) for row in own.classes] == [
        ("apo-ferritin", 3, 3),
        ("ribosome", 3, 3),
    ]
    assert own.columns == 3
    assert all(shown.alt.startswith("real apo-ferritin, box") for shown in own.classes[0].real)


def test_many_pictures_are_cut_to_the_budget_but_no_class_is_lost(examples, monkeypatch):
    monkeypatch.setattr(evaluation_gallery, "BUDGET_BYTES", 4000)
    own = gallery(examples(per_class=5), 10.0)
    assert {len(row.real) for row in own.classes} == {1}


def test_large_slices_are_averaged(examples, monkeypatch):
    monkeypatch.setattr(evaluation_gallery, "_LARGEST_VOXEL", 8)
    shown = examples(box=16)
    picture = pixels(gallery(shown, 10.0).classes[0].generated[0].picture)
    assert picture.shape == (3 * 8 + 4, 8)
    corner = shown.generated.volumes[0][8][:2, :2].mean()
    assert picture[7, 0] == pytest.approx(corner, abs=0.51)


def test_pair_has_the_sample_above_the_box(examples, evaluation):
    shown = examples(box=16)
    (pair,) = pair_pictures(evaluation().close_pairs, shown)
    picture = pixels(pair.picture)
    assert np.array_equal(picture[:16, :16], shown.pair_sample[0, 0][::-1])
    assert np.array_equal(picture[18:, 36:], shown.pair_box[0, 2][::-1])
    assert pair.placed == "turned by 180° about z, shifted by (+1, 0, −2) voxels in z, y, x"
