"""Augmentation keeps the wedge, and says so for the right tilt ranges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frazil.core.errors import SettingsError, ShapeError
from frazil.core.seeds import numpy_generator
from frazil.dataset.augment import crop_center, draw_turns, mirrored_position, turn_each, wedge_turns
from frazil.volume.turns import TURNS, turn_half
from frazil.volume.wedge import impose_wedge, missing_wedge_mask


def test_a_symmetric_range_keeps_all_turns():
    assert wedge_turns((-45.0, 45.0)) == ("identity", "x", "y", "z")


@pytest.mark.parametrize("tilts", [(-48.0, 45.0), (-30.0, 60.0), None])
def test_an_asymmetric_or_unknown_range_keeps_y_alone(tilts):
    assert wedge_turns(tilts) == ("identity", "y")


def test_what_is_no_tilt_range_is_refused(refuses):
    with refuses(SettingsError, "45", "LOWEST,HIGHEST"):
        wedge_turns((45.0, -45.0))


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("tilts", [(-45.0, 45.0), (-48.0, 30.0)])
def test_turns_keep_the_mask_exactly_where_they_are_allowed(turn, tilts):
    # edges may differ: no axis is favoured by the shape
    mask = missing_wedge_mask((16, 12, 14), tilts)
    # FFT order is that of a periodic box with its centre at voxel 0; turning it there is turning fftshift at D/2
    centred = torch.fft.fftshift(mask.float())
    kept = torch.equal(turn_half(centred, turn), centred)
    assert kept == (turn in wedge_turns(tilts))


def test_a_turned_volume_has_no_power_in_the_missing_wedge():
    mask = missing_wedge_mask((16, 16, 16), (-40.0, 40.0))
    noise = torch.from_numpy(numpy_generator(0, "noise").standard_normal((1, 16, 16, 16)))
    wedged = impose_wedge(noise, mask).numpy()
    for turn in wedge_turns((-40.0, 40.0)):
        power = np.abs(np.fft.fftn(turn_each(wedged, [turn])[0]))
        assert power[~mask.numpy()].max() < 1e-9 * power.max()
    quarter = np.abs(np.fft.fftn(np.rot90(wedged[0], axes=(1, 2))))  # about z: what the module forbids
    assert quarter[~mask.numpy()].max() > 0.1 * quarter.max()


def test_each_volume_gets_its_own_turn():
    volumes = numpy_generator(1, "volumes").standard_normal((4, 5, 6, 7)).astype(np.float32)
    turned = turn_each(volumes, TURNS)
    for row, turn in enumerate(TURNS):
        np.testing.assert_array_equal(turned[row], turn_half(volumes[row], turn))


def test_a_turn_for_each_volume_is_needed(refuses):
    with refuses(ShapeError, "1 turns", "2 volumes", "one for each"):
        turn_each(np.zeros((2, 4, 4, 4)), ["y"])


def test_draws_depend_on_the_generator_alone_and_reach_every_turn():
    one = draw_turns(400, TURNS, numpy_generator(3, "turns"))
    assert one == draw_turns(400, TURNS, numpy_generator(3, "turns"))
    counts = np.array([one.count(turn) for turn in TURNS])
    # each is binomial(400, 1/4): 100 +- 8.7
    assert (abs(counts - 100) < 4 * 8.7).all()
    assert set(draw_turns(50, ("identity", "y"), numpy_generator(3, "turns"))) == {"identity", "y"}


@given(turn=st.sampled_from(TURNS), at=st.tuples(*[st.integers(0, 4)] * 3))
def test_a_box_of_a_turned_tomogram_is_the_turned_box_at_the_mirrored_position(turn, at):
    # a tomogram whose voxel i mirrors to N-1-i about its middle
    tomogram = numpy_generator(5, "tomogram").standard_normal((11, 11, 11))
    flipped = [axis for axis, part in enumerate(mirrored_position(np.zeros(3), turn)) if part == 1]
    turned = np.flip(tomogram, axis=flipped)
    middle = np.array(at) + 3
    position = (middle + 0.5) / 11
    there = np.rint(mirrored_position(position, turn) * 11 - 0.5).astype(int)

    def box(volume, centre):
        return volume[tuple(slice(c - 3, c + 4) for c in centre)]

    np.testing.assert_array_equal(box(turned, there), turn_half(box(tomogram, middle), turn))


def test_an_unknown_position_stays_unknown():
    assert np.isnan(mirrored_position(np.full(3, np.nan), "x")).all()


@pytest.mark.parametrize(("edge", "cube"), [(16, 8), (16, 7), (15, 8), (15, 7)])
def test_the_centre_of_a_box_is_the_centre_of_its_crop(edge, cube):
    volume = np.zeros((edge, edge, edge))
    volume[edge // 2, edge // 2, edge // 2] = 1
    assert crop_center(volume, cube)[cube // 2, cube // 2, cube // 2] == 1


def test_a_moved_crop_moves_the_particle_the_other_way():
    volume = np.zeros((2, 16, 16, 16))
    volume[:, 8, 8, 8] = 1
    crop = crop_center(volume, 8, (1, -2, 0))
    assert crop.shape == (2, 8, 8, 8)
    assert (crop[:, 3, 6, 4] == 1).all()


def test_a_crop_beyond_the_volume_is_refused(refuses):
    with refuses(ShapeError, "14", "(0, 0, 2)", "(16, 16, 16)", "smaller"):
        crop_center(np.zeros((16, 16, 16)), 14, (0, 0, 2))
