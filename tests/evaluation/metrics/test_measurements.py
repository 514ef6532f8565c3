import numpy as np
import pytest

from frazil.core.errors import ShapeError
from frazil.evaluation.metrics.measurements import measure
from frazil.evaluation.volumes import VolumeSet
from frazil.volume.spectra import appearance


def noise(count=3, edge=32, seed=0) -> VolumeSet:
    volumes = np.random.default_rng(seed).standard_normal((count, edge, edge, edge), dtype=np.float32)
    return VolumeSet(volumes, np.array(["a", "b", "a"][:count]), tuple("xyz"[:count]), 10.0)


def wedged(volumes: VolumeSet, half_degrees: float) -> VolumeSet:
    """Keep what a tilt series about y measures."""
    edge = volumes.volumes.shape[1]
    kz, _, kx = np.meshgrid(*[np.fft.fftfreq(edge)] * 3, indexing="ij")
    kept = np.abs(kz) <= np.abs(kx) * np.tan(np.radians(half_degrees)) + 1e-9
    filtered = np.fft.ifftn(np.fft.fftn(volumes.volumes, axes=(1, 2, 3)) * kept, axes=(1, 2, 3)).real
    return VolumeSet(filtered.astype(np.float32), volumes.labels, volumes.names, 10.0)


def test_every_volume_is_measured_in_its_place_whatever_the_threads():
    one = noise()
    together = measure(one)
    assert len(together) == 3
    for row in range(3):
        alone = measure(one.subset([row]))
        np.testing.assert_array_equal(together.curves["3D"][row], alone.curves["3D"][0])
        np.testing.assert_array_equal(together.polar[row], alone.polar[0])
        look = appearance(one.volumes[row])
        assert together.skew[row] == look.skew
        np.testing.assert_array_equal(together.curves["wedge"][row], look.wedge.log_power)


def test_white_noise_fills_the_wedge_as_everything_else():
    found = measure(noise())
    np.testing.assert_allclose(found.wedge_power, 1, atol=0.06)
    # the shells at the lowest frequencies have few coefficients
    assert np.abs(found.curves["3D"].mean(axis=0)[2:]).max() < 0.08


def test_the_wedge_of_a_tilt_series_is_empty_and_that_of_a_larger_range_begins_elsewhere():
    pieces = wedged(noise(), 45)
    assert measure(pieces).wedge_power.max() < 0.05
    assert measure(pieces, tilt_range_degrees=(-45, 45)).wedge_power.max() < 0.05
    # looked for beyond 25 degrees, there is power up to 45
    assert measure(pieces, tilt_range_degrees=(-20, 20)).wedge_power.min() > 0.2


def test_an_asymmetric_range_has_its_wedge_on_one_side():
    # slices tilted by 30 to 60 degrees: beyond the range of (-60, 0), within that of (0, 60)
    edge = 32
    kz, _, kx = np.meshgrid(*[np.fft.fftfreq(edge)] * 3, indexing="ij")
    tilt = np.degrees(np.arctan2(kz * np.where(kx < 0, -1, 1), np.abs(kx)))
    white = noise()
    filtered = np.fft.ifftn(np.fft.fftn(white.volumes, axes=(1, 2, 3)) * ((tilt > 30) & (tilt < 60)), axes=(1, 2, 3))
    pieces = VolumeSet(filtered.real.astype(np.float32), white.labels, white.names, 10.0)
    assert measure(pieces, tilt_range_degrees=(0, 60)).wedge_power.max() < 0.1
    assert measure(pieces, tilt_range_degrees=(-60, 0)).wedge_power.min() > 5


def test_a_full_tilt_range_has_no_wedge():
    assert np.isnan(measure(noise(), tilt_range_degrees=(-88, 88)).wedge_power).all()


def test_classes_are_taken_out_and_labels_exchanged():
    found = measure(noise())
    own = found.of("a")
    assert len(own) == 2
    np.testing.assert_array_equal(own.curves["XY"], found.curves["XY"][[0, 2]])
    np.testing.assert_array_equal(own.profile, found.polar[[0, 2]].mean(axis=1))
    again = found.relabelled(np.array(["b", "b", "b"]))
    assert (len(again.of("b")), len(again.of("a"))) == (3, 0)


def test_each_volume_is_told():
    told = []
    measure(noise(), on_volume=lambda: told.append(1))
    assert len(told) == 3


def test_a_volume_without_contrast_is_refused():
    one = noise()
    flat = VolumeSet(np.ones_like(one.volumes), one.labels, one.names, 10.0)
    with pytest.raises(ShapeError, match="constant grey values; take one with contrast"):
        measure(flat)
