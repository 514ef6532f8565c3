from dataclasses import dataclass

import mrcfile
import numpy as np
import pytest

from frazil.core.settings import SourceSettings
from frazil.dataset.contrast import find_contrast
from frazil.dataset.run import curate

AXIS = np.arange(32) - 16
RADIUS = np.sqrt(AXIS[:, None, None] ** 2 + AXIS[:, None] ** 2 + AXIS**2)
BALL = np.exp(-((RADIUS / 5) ** 2))
LUMEN = np.exp(-(((RADIUS - 11) / 2) ** 2)) - 0.8 * (RADIUS < 8) - 0.3 * (np.abs(RADIUS - 15) < 1)
"""A shell whose center and surroundings have the other sign."""


@dataclass
class Boxes:
    shape: np.ndarray
    count: int = 9

    def __len__(self):
        return self.count

    def z_scored(self, box, _):
        return (self.shape + np.random.default_rng(box).standard_normal(self.shape.shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [BALL, LUMEN], ids=["ball", "shell with a lumen"])
def test_what_stands_out_is_the_particle(shape):
    assert find_contrast(Boxes(shape)) == "bright"
    assert find_contrast(Boxes(-shape)) == "dark"


@pytest.mark.parametrize("boxes", [Boxes(0 * BALL, 200), Boxes(BALL, 5)], ids=["noise", "too few"])
def test_no_word_without_evidence(boxes):
    assert find_contrast(boxes) is None


def test_bright_tomograms_give_the_boxes_of_dark_ones(make_project, tmp_path, capsys):
    project = make_project("csv", runs=("TS_1",), picks_per_label=8, shape_voxel=(40, 60, 60))
    settings = {"preset": "smoke", "box_size_voxel": 16}
    dark = curate(project.path, tmp_path / "dark", **settings)
    assert "bright" not in capsys.readouterr().err
    for file in project.path.glob("*.mrc"):
        with mrcfile.mmap(file, "r+") as mrc:
            mrc.data[:] *= -1
    for out, whole in (("asis", False), ("asis whole", True)):
        curate(project.path, tmp_path / out, whole=whole, **settings)
        assert "repeat it with contrast bright" in capsys.readouterr().err
    bright = curate(project.path, tmp_path / "bright", select=SourceSettings(contrast="bright"), **settings)
    assert capsys.readouterr().err.count("bright") == 0
    curate(project.path, tmp_path / "bright whole", whole=True, select=SourceSettings(contrast="bright"))
    assert "bright" not in capsys.readouterr().err
    for box in range(len(dark)):
        np.testing.assert_array_equal(bright.volume(box), dark.volume(box))


@pytest.mark.real
@pytest.mark.parametrize(("folder", "box", "contrast"), [("yeast-80S", 16, "dark"), ("hiv-vlp", 32, "bright")])
def test_real_tomograms_by_themselves(real_data, tmp_path, folder, box, contrast):
    source = real_data.parent / folder
    if not source.is_dir():
        pytest.skip(f"no {folder} beside FRAZIL_REAL_DATA")
    store = curate(source, tmp_path / "store", box_size_voxel=box)
    assert find_contrast(store) == contrast
    assert store.description.overlapping_validation_boxes == 0
    assert len(store.boxes("validation")) >= 1
    assert len(store.boxes("train")) > 0.8 * len(store)
