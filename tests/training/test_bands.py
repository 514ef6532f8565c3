"""The bands of the training boxes are measured as they were made."""

from dataclasses import dataclass

import pytest
import torch

from frazil.dataset.subtomograms import Subtomogram
from frazil.model.wavelet import FrontEnd, haar_join
from frazil.training import bands
from frazil.training.bands import measure_bands


@dataclass
class Boxes:
    """White noise of known deviation in every Haar band, twice as strong in odd boxes."""

    std: tuple[float, ...]
    count: int = 6

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Subtomogram:
        noise = torch.randn(1, 8, 16, 16, 16, generator=torch.Generator().manual_seed(row)) * (1 + row % 2)
        volume = haar_join(noise * torch.tensor(self.std)[None, :, None, None, None])[0]
        return Subtomogram(volume, 0, torch.full((3,), 0.5), row, torch.full((3,), 100.0))


STD = (2.5, 0.8, 0.7, 0.3, 0.6, 0.25, 0.2, 0.06)


def test_deviations_are_those_of_all_boxes_together():
    front_end = FrontEnd("haar")
    measure_bands(front_end, Boxes(STD))
    torch.testing.assert_close(front_end.std, torch.tensor(STD) * 2.5**0.5, rtol=0.02, atol=0)  # (1 + 4) / 2
    again = FrontEnd("haar")
    measure_bands(again, Boxes(STD))
    assert torch.equal(again.std, front_end.std)


def test_large_sets_are_measured_by_a_share_of_their_boxes(monkeypatch):
    monkeypatch.setattr(bands, "_BOXES", 4)
    front_end, read = FrontEnd("haar"), []

    class Counted(Boxes):
        def __getitem__(self, row):
            read.append(row)
            return super().__getitem__(row)

    measure_bands(front_end, Counted(STD, count=12))
    assert read == [0, 3, 6, 9]


def test_a_band_without_signal_gets_a_small_scale_and_none_needs_none():
    front_end = FrontEnd("haar")
    measure_bands(front_end, Boxes((1.0,) + (0.0,) * 7, count=1))
    assert front_end.std[1:].tolist() == pytest.approx([1e-3] * 7)
    nothing = FrontEnd("none")
    measure_bands(nothing, Boxes(STD))
    assert not nothing.state_dict()
