"""The picker finds what it has learned, and its picks are where the particles are."""

import numpy as np
import pytest
import torch

from frazil.proof.picker import Picker, PickerNetwork, stride_voxel, target
from frazil.volume.layout import MORE_PLANES


class Bright(PickerNetwork):
    """Says that whatever is bright belongs to its only class."""

    def forward(self, volume):
        mean = torch.nn.functional.avg_pool3d(volume.float(), self.stem.stride)
        return torch.cat([torch.zeros_like(mean), 20 * (mean - 0.5)], dim=1)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(40, 120, 50), (33, 47, 101)])
def test_picks_are_where_the_particles_are_also_across_windows_and_at_borders(shape, stride, monkeypatch):
    monkeypatch.setattr("frazil.proof.picker._CORE", 24)
    centers = np.array([[5.0, 6.0, 8.0], [20.0, 40.0, 48.0], [27.0, min(shape[1] - 6, 96.0), 30.0]])
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    volume = sum((np.linalg.norm(grid - center, axis=-1) < 4).astype(np.float32) for center in centers)
    picks, scores = Picker(Bright(1, stride), ("blob",), (8.0,), stride).pick(volume)["blob"]
    assert len(picks) == 3
    for center in centers:
        assert np.linalg.norm(picks - center, axis=1).min() < 2
    assert (scores > 0.3).all()


def test_small_voxels_are_taken_two_at_a_time():
    assert [stride_voxel(size) for size in (10.012, 20.02, 31.36)] == [2, 1, 1]


def test_the_network_keeps_half_of_the_edges_and_learns_a_class():
    torch.manual_seed(0)
    network = PickerNetwork(2, 2, channels=8)
    volume = torch.randn(1, 1, 32, 16, 24)
    assert network(volume).shape == (1, 3, 16, 8, 12)
    wanted = (torch.nn.functional.avg_pool3d(volume, 2)[:, 0] > 0.2).long()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(network(volume), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_targets_are_the_strongest_plane():
    planes = torch.zeros(2 + MORE_PLANES, 1, 1, 3)
    planes[0, 0, 0], planes[1, 0, 0] = torch.tensor([0.9, 0.0, 0.4]), torch.tensor([0.6, 0.7, 0.0])
    assert target(planes).flatten().tolist() == [1, 2, 0]
