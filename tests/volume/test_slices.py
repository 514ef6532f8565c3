import cmath
import math

import numpy as np
import pytest

from frazil.core.errors import ShapeError
from frazil.core.slices import DIRECTIONS, SliceSet
from frazil.volume.slices import curve_distances, halves_floor, measure_slices


def white(n=24, edge=64, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 3, edge, edge))


def curves_of(slices: np.ndarray, labels=None, **how):
    return measure_slices(SliceSet(slices, tuple(labels or ["ribosome"] * len(slices)), 10.0)).curves(**how)


@pytest.mark.parametrize("edge", [32, 64, 96])
def test_white_noise_is_flat_with_the_power_of_the_window_of_64_voxels_at_any_box_size(edge):
    curves = curves_of(white(edge=edge))
    # sum of hanning(64)^2 is 3/8 of 63; a slice of white noise has the square of it at each coefficient
    level = 2 * math.log10(3 / 8 * 63)
    assert np.abs(np.array(curves.log10_power)[:, 3:] - level).max() < 0.1
    assert curves.cycles_per_voxel[-1] == pytest.approx(30 / 64)
    assert np.abs([curves.sectors[name] for name in DIRECTIONS] - np.float64(level)).max() < 0.3
    assert np.nanmax(np.abs(np.array(curves.wedge_log10_power, dtype=float))) < 0.3
    assert (curves.skew, curves.excess_kurtosis) == pytest.approx((0, 0), abs=0.05)
    assert curves.quantiles[3] == pytest.approx(0, abs=0.05)
    assert curves.quantiles[5] == pytest.approx(2.326, abs=0.1)  # 99 % of a Gaussian


def test_power_of_a_wave_along_x_lies_at_its_frequency_and_direction():
    x = np.arange(64)
    volume = np.broadcast_to(np.cos(2 * np.pi * 10 * x / 64), (64, 64, 64)) + 1e-3 * white(64, 64)[:, 0]
    curves = measure_slices(SliceSet.of_volumes([volume], ["wave"], 10.0)).curves()
    xy, xz, yz = np.array(curves.log10_power)
    assert curves.cycles_per_voxel[xy.argmax()] == curves.cycles_per_voxel[xz.argmax()] == 10 / 64
    assert xy.max() - yz.max() > 4  # every plane x = constant is flat
    assert int(np.argmax(curves.sectors["XY, along x"])) == 1  # 8 to 12 cycles
    assert curves.sectors["XY, along x"][1] - curves.sectors["XY, along y"][1] > 4
    assert curves.sectors["XZ, along x"][1] - curves.sectors["XZ, along z"][1] > 4


def test_directions_of_yz_are_those_of_its_rows_and_columns():
    z = np.arange(64)[:, None, None]
    volume = np.cos(2 * np.pi * 10 * z / 64) + 1e-3 * white(64, 64)[:, 0]
    curves = measure_slices(SliceSet.of_volumes([volume], ["wave"], 10.0)).curves()
    assert curves.sectors["YZ, along z"][1] - curves.sectors["YZ, along y"][1] > 4
    assert curves.sectors["XZ, along z"][1] - curves.sectors["XZ, along x"][1] > 4


def test_a_missing_wedge_shows_at_its_angle():
    slices = white()
    k = np.fft.fftfreq(64)
    missing = np.abs(k)[:, None] > np.abs(k) * math.tan(math.radians(40))
    slices[:, 1] = np.fft.ifft2(np.where(missing, 0, np.fft.fft2(slices[:, 1]))).real
    wedge = np.array(curves_of(slices).wedge_log10_power)
    assert np.abs(wedge[:7]).max() < 0.15  # to 35 degrees
    assert wedge[10:].max() < -1.0  # from 50 degrees


def test_the_profile_of_a_gaussian_ring_is_the_ring():
    y, x = np.indices((64, 64)) - 32
    ring = -np.exp(-np.square(np.hypot(y, x) - 7.5) / 2)
    slices = np.broadcast_to(ring, (2, 3, 64, 64))
    profile = np.array(curves_of(slices, ["a", "a"]).radial_profile["a"])
    z_scored = (
        -np.exp(-np.square(np.arange(20) - 7.0) / 2) - ring.mean()
    ) / ring.std()  # a ring holds radii from r to r + 1
    assert profile.argmin() == 7
    assert np.corrcoef(profile, z_scored)[0, 1] > 0.99


def test_the_background_does_not_know_of_particles():
    slices = white(8)
    slices[:, :, 20:30, 20:30] -= 8
    curves = curves_of(slices)
    assert curves.skew < -1.5
    assert curves.background_skew == pytest.approx(0, abs=0.1)
    assert curves.background_std * np.sqrt(1 + 64 * 0.0238) == pytest.approx(
        1, abs=0.05
    )  # the dark square has 2.4 % of a slice


def test_classes_count_by_their_weights():
    dark = white(2, seed=1)
    dark[:, :, 24:40, 24:40] -= 10
    measured = measure_slices(SliceSet(np.concatenate([white(6), dark]), ("a",) * 6 + ("b",) * 2, 10.0))
    alone = measured.curves([6, 7])
    np.testing.assert_allclose(measured.curves(class_weights={"b": 3.0}).log10_power, alone.log10_power)
    both = measured.curves(class_weights={"a": 1.0, "b": 1.0})
    assert both.skew == pytest.approx((measured.curves(range(6)).skew + alone.skew) / 2)
    assert measured.curves(class_weights={"c": 1.0}) == measured.curves()  # none is known: all alike
    assert both.per_class == {"a": 6, "b": 2}


def test_curves_are_those_of_a_restatement_in_loops():
    edge = 16
    slices = np.random.default_rng(3).gamma(2.0, size=(2, 3, edge, edge))
    measured = curves_of(slices)
    rings: dict[tuple[int, int], list[float]] = {}
    wedge: dict[int, list[float]] = {}
    scale = (sum(w**2 for w in np.hanning(64)) / sum(w**2 for w in np.hanning(edge))) ** 2
    skews = []
    for box in slices:
        mean, std = box.mean(), box.std()
        skews.append(sum(((v - mean) / std) ** 3 for v in box.ravel()) / box.size)
        for plane, image in enumerate(box):
            flat = (image - image.mean()) / std * np.outer(np.hanning(edge), np.hanning(edge))
            for ky in range(-8, 8):
                for kx in range(-8, 8):
                    wave = (
                        flat[row, column] * cmath.exp(-2j * math.pi * (ky * row + kx * column) / edge)
                        for row in range(edge)
                        for column in range(edge)
                    )
                    power = scale * abs(sum(wave)) ** 2
                    radius, angle = math.hypot(ky, kx), math.degrees(math.atan2(abs(ky), abs(kx)))
                    rings.setdefault((plane, math.floor(radius)), []).append(power)
                    if plane == 1 and 1 < radius < 6.75 and angle < 90:
                        wedge.setdefault(int(angle // 5), []).append(power)
    for plane in range(3):
        expected = [math.log10(np.mean(rings[plane, k])) for k in range(1, 8)]
        np.testing.assert_allclose(measured.log10_power[plane], expected, rtol=1e-9)
    level = np.mean([np.mean(wedge[k]) for k in range(3) if k in wedge])
    for k, value in enumerate(measured.wedge_log10_power):
        assert (value is None) == (k not in wedge)
        if value is not None:
            assert value == pytest.approx(math.log10(np.mean(wedge[k]) / level))
    assert measured.skew == pytest.approx(np.mean(skews))


def test_distances_from_itself_are_none_and_from_more_power_what_was_added():
    slices = white(6)
    slices[:, :, 30:34, 30:34] -= 6
    curves = curves_of(slices)
    same = curve_distances(curves, curves)
    assert {name: value for name, value in same.items() if not name.startswith("profile")} == pytest.approx(
        dict.fromkeys((name for name in same if not name.startswith("profile")), 0.0)
    )
    assert same["profile"] == same["profile ribosome"] == pytest.approx(1)
    more = curves.model_copy(
        update={
            "log10_power": tuple(tuple(v + 0.3 for v in row) for row in curves.log10_power),
            "skew": curves.skew - 1,
        }
    )
    found = curve_distances(more, curves)
    assert [found[name] for name in ("spectrum", "spectrum XY", "spectrum YZ")] == pytest.approx([0.3] * 3)
    assert found["skew"] == pytest.approx(-1)
    assert curve_distances(curves, more)["skew"] == pytest.approx(1)


def test_floors_fall_with_the_number_of_subtomograms():
    few, many = (measure_slices(SliceSet(white(n), ("a",) * n, 10.0)) for n in (4, 16))
    assert halves_floor(many)["spectrum"] < halves_floor(few)["spectrum"]
    assert 0 < halves_floor(many)["skew"] < 0.1  # absolute values, or they would cancel


def test_what_cannot_be_measured_or_compared_is_refused(refuses):
    flat = white(3)
    flat[1] = 4.0
    with refuses(ShapeError, "subtomogram 1", "constant", "leave it out"):
        curves_of(flat)
    curves = curves_of(white(2))
    other = curves.model_copy(update={"voxel_size_angstrom": 20.0})
    with refuses(ShapeError, "20 A", "10 A", "one voxel size"):
        curve_distances(other, curves)
