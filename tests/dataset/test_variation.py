"""A varied box is bitwise what is cut from the tomogram, turned as a whole, at the place that its position names."""

import numpy as np
import pytest
import torch

from frazil.core.errors import SettingsError
from frazil.core.settings import TrainingSettings
from frazil.dataset.boxes import Subtomogram
from frazil.dataset.variation import Variation
from frazil.volume.turns import SIGNS, TURNS

EXTENT = np.array([40, 48, 56])
BOX = 16


@pytest.fixture
def tomogram():
    return np.random.default_rng(0).normal(size=EXTENT).astype(np.float32)


def cut(tomogram, center, edge):
    start = np.array(center) - edge // 2
    return tomogram[tuple(slice(first, first + edge) for first in start)]


def box(tomogram, center):
    position = torch.tensor(np.array(center) / EXTENT, dtype=torch.float32)
    volume = torch.from_numpy(cut(tomogram, center, BOX)[None].copy())
    extent = torch.tensor(EXTENT, dtype=torch.float32)
    return Subtomogram(volume, 1, position, 7, extent, (extent - 1) / extent)


def test_without_settings_a_box_stays_what_it_is(tomogram):
    item = box(tomogram, (20, 20, 30))
    whole = Variation.of(TrainingSettings(), box_size_voxel=BOX, tilt_range_degrees=(-60, 60))
    assert not whole.varies
    assert whole.middle(item) is item


def test_the_middle_is_cut_around_the_particle(tomogram):
    item = box(tomogram, (20, 20, 30))
    middle = Variation(edge_voxel=8).middle(item)
    assert torch.equal(middle.volume[0], torch.from_numpy(cut(tomogram, (20, 20, 30), 8)))
    assert torch.equal(middle.position, item.position)


def test_a_shifted_box_is_the_box_at_the_shifted_position(tomogram):
    item, variation = box(tomogram, (20, 20, 30)), Variation(edge_voxel=8, shift_voxel=3)
    random, shifts = np.random.default_rng(1), set()
    for _ in range(300):
        varied = variation.vary(item, random)
        center = np.rint(varied.position.numpy() * EXTENT).astype(int)
        shifts.update(enumerate(center - (20, 20, 30)))
        assert torch.equal(varied.volume[0], torch.from_numpy(cut(tomogram, center, 8)))
        assert (varied.label, varied.box) == (item.label, item.box)
    assert shifts == {(axis, shift) for axis in range(3) for shift in range(-3, 4)}


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_box_is_that_of_the_turned_tomogram_at_the_turned_position(tomogram, turn):
    item, variation = box(tomogram, (20, 20, 30)), Variation(edge_voxel=8, shift_voxel=3, turns=(turn,))
    varied = variation.vary(item, np.random.default_rng(2))
    turned = np.flip(tomogram, axis=[axis for axis, sign in enumerate(SIGNS[turn]) if sign < 0])
    center = np.rint(varied.position.numpy() * EXTENT).astype(int)
    assert torch.equal(varied.volume[0], torch.from_numpy(cut(turned, center, 8).copy()))


def test_turns_follow_the_tilt_range():
    settings = TrainingSettings(half_turns=True, box_size_voxel=8)
    assert set(Variation.of(settings, box_size_voxel=BOX, tilt_range_degrees=(-60, 60)).turns) == set(TURNS)
    for asymmetric in ((-48.0, 60.0), None):
        found = Variation.of(settings, box_size_voxel=BOX, tilt_range_degrees=asymmetric)
        assert set(found.turns) == {"identity", "y"}
        assert found.varies


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"box_size_voxel": 24},
            r"box_size_voxel 24 in boxes of 16: is larger than they are; .*boxes of 24, .*boxes of 16$",
        ),
        ({"box_size_voxel": 12, "shift_voxel": 3}, r"shifts of 3 need 3 voxels .*boxes of 18, .*boxes of 10$"),
        (
            {"half_turns": True},
            r"box_size_voxel 16 in boxes of 16: half turns need 1 voxels .*boxes of 18, .*boxes of 14$",
        ),
        (
            {"half_turns": True, "shift_voxel": 2, "box_size_voxel": 12},
            r"2 and half turns need 3 .*boxes of 18, .*boxes of 10$",
        ),
    ],
)
def test_a_cube_without_room_is_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        Variation.of(TrainingSettings(**settings), box_size_voxel=BOX)


@pytest.mark.parametrize(
    ("box", "multiple", "advice"),
    [
        (32, 16, "curate boxes of 48, or train on boxes of 16"),
        (32, 8, "curate boxes of 40, or train on boxes of 24"),
        (16, 16, "curate boxes of 32"),  # nothing smaller is left for the network
    ],
)
def test_only_an_edge_that_the_network_takes_is_recommended(box, multiple, advice):
    for settings in ({"half_turns": True}, {"shift_voxel": 2}):
        with pytest.raises(SettingsError, match=f"; {advice}$"):
            Variation.of(TrainingSettings(**settings), box_size_voxel=box, edge_multiple=multiple)


def test_an_unknown_position_stays_unknown(tomogram):
    item = box(tomogram, (20, 20, 30))._replace(position=torch.full((3,), float("nan")))
    assert Variation(8, 2, TURNS).vary(item, np.random.default_rng(0)).position.isnan().all()
