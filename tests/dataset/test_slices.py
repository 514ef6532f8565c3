import numpy as np
import pytest

from frazil.core.errors import SourceError
from frazil.dataset.slices import read_real_slices


def test_curves_that_were_written_are_those_of_the_slices(tmp_path, refuses):
    slices = np.random.default_rng(0).standard_normal((3, 3, 32, 32))
    np.savez(tmp_path / "slices.npz", slices=slices, labels=np.array(["a", "b", "b"]), voxel_size_angstrom=10.0)
    measured = read_real_slices(tmp_path / "slices.npz")
    measured.curves.write(tmp_path / "curves.json")
    known = read_real_slices(tmp_path / "curves.json")
    assert known.curves == measured.curves
    assert (known.measurements, len(measured.measurements)) == (None, 3)
    assert known.class_weights == {"a": 1.0, "b": 2.0}
    bare = known.curves.model_copy(update={"per_class": None})
    bare.write(tmp_path / "bare.json")
    assert read_real_slices(tmp_path / "bare.json").class_weights == {"a": 1.0, "b": 1.0}
    with refuses(SourceError, "missing.json", "no such file"):
        read_real_slices(tmp_path / "missing.json")


@pytest.mark.real
def test_the_curves_that_are_exchanged_are_those_of_their_slices(real_data):
    folder = real_data.parent / "czii-slices"
    if not folder.is_dir():
        pytest.skip("no slices beside FRAZIL_REAL_DATA")
    measured = read_real_slices(folder / "slices.npz", voxel_size_angstrom=10.012444).curves.model_dump()
    known = read_real_slices(folder / "curves.json").curves.model_dump()
    decimals = {
        "log10_power": 3, "wedge_log10_power": 3, "skew": 3, "excess_kurtosis": 3, "background_skew": 2,
        "background_excess_kurtosis": 2, "background_std": 2, "quantiles": 2,
    }  # fmt: skip
    for name, digits in decimals.items():
        np.testing.assert_allclose(measured[name], known[name], atol=0.51 * 10**-digits, err_msg=name)
    for name in ("sectors", "radial_profile"):
        for key, values in known[name].items():
            np.testing.assert_allclose(measured[name][key], values, atol=0.0051, err_msg=key)
