import json

import numpy as np
import pytest

from frazil.core.errors import ShapeError, SourceError
from frazil.core.slices import SliceCurves, SliceSet


@pytest.fixture
def exchanged() -> dict:
    """What others exchange: no kind, no schema version, numbers rounded."""
    return {
        "planes": ["XY", "XZ", "YZ"],
        "cycles_per_voxel": [0.01562, 0.03125, 0.04688],
        "voxel_size_angstrom": 10.012444,
        "log10_power": [[4.8, 4.5, 4.3], [5.0, 4.7, 4.4], [4.9, 4.6, 4.2]],
        "wedge_angle_degrees": list(range(0, 90, 5)),
        "wedge_log10_power": [0.0] * 18,
        "skew": -1.7,
        "excess_kurtosis": 5.2,
        "radial_profile_XY": {"ribosome": [-2.5, -2.3]},
        "sectors_20_degrees_rings_of_4_from_4": {
            f"{plane}, along {axis}": [4.0] * 7
            for plane, axes in (("XY", "xy"), ("XZ", "xz"), ("YZ", "zy"))
            for axis in axes
        },
        "background_skew": 0.02,
        "background_excess_kurtosis": 0.32,
        "background_std": 0.56,
        "XY_quantiles_0.1_1_5_50_95_99_99.9_percent": [-5.5, -3.6, -1.8, 0.2, 1.2, 1.7, 2.3],
        "subtomograms": 8,
    }


def test_the_file_that_others_exchange_is_read_and_written_with_the_same_keys(exchanged, tmp_path):
    path = tmp_path / "curves.json"
    path.write_text(json.dumps(exchanged))
    curves = SliceCurves.read(path, SourceError)
    assert curves.radial_profile == {"ribosome": (-2.5, -2.3)}
    assert curves.quantiles[-1] == 2.3
    assert curves.per_class is None
    curves.write(tmp_path / "written.json")
    written = json.loads((tmp_path / "written.json").read_text())
    assert {key: written[key] for key in exchanged} == exchanged
    assert (written["kind"], written["schema_version"]) == ("frazil slice curves", 1)
    assert SliceCurves.read(tmp_path / "written.json", SourceError) == curves


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"log10_power": [[4.8, 4.5]] * 3}, ("3 numbers", "cycles_per_voxel")),
        ({"cycles_per_voxel": [0.1, 0.3, 0.2]}, ("rise",)),
        ({"wedge_log10_power": [0.0] * 9}, ("18 numbers",)),
        ({"sectors_20_degrees_rings_of_4_from_4": {"XY, along x": [4.0] * 7}}, ("7 numbers", "YZ, along y")),
        ({"XY_quantiles_0.1_1_5_50_95_99_99.9_percent": [0.0]}, ("7 quantiles",)),
        ({"voxel_size_angstrom": -1.0}, ("voxel_size_angstrom", "greater than 0")),
        ({"skew": "dark"}, ("skew", "number")),
        ({"kind": "frazil samples"}, ("frazil slice curves",)),
        ({"kind": "frazil slice curves", "schema_version": 2}, ("schema version 2", "upgrade")),
        ({"planets": 9}, ("planets",)),
    ],
)
def test_damaged_curves_are_refused(exchanged, tmp_path, refuses, change, parts):
    path = tmp_path / "curves.json"
    path.write_text(json.dumps(exchanged | change))
    with refuses(SourceError, "curves.json", *parts):
        SliceCurves.read(path, SourceError)


def test_slices_go_through_the_middle_of_a_volume():
    volume = np.arange(16**3, dtype=np.float32).reshape(16, 16, 16)
    xy, xz, yz = SliceSet.of_volumes([volume], ["a"], 10.0).slices[0]
    assert xy[2, 3] == volume[8, 2, 3]
    assert xz[2, 3] == volume[2, 8, 3]
    assert yz[2, 3] == volume[2, 3, 8]


def test_slices_of_another_shape_are_refused(refuses):
    with refuses(ShapeError, "(2, 2, 16, 16)", "(n, 3, N, N)"):
        SliceSet(np.zeros((2, 2, 16, 16)), ("a", "b"), 10.0)
    with refuses(ShapeError, "(2, 3, 8, 8)", "at least 16"):
        SliceSet(np.zeros((2, 3, 8, 8)), ("a", "b"), 10.0)
    with refuses(ShapeError, "1 labels", "2 subtomograms"):
        SliceSet(np.zeros((2, 3, 16, 16)), ("a",), 10.0)
