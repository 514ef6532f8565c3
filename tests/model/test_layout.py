"""The branch that takes a painted layout."""

import pytest
import torch

from frazil.core.settings import ModelSettings
from frazil.model.layout import LayoutBranch
from frazil.model.wavelet import FrontEnd
from frazil.volume.layout import MORE_PLANES


@pytest.mark.parametrize("front_end", ["none", "haar", "space-to-depth"])
def test_nothing_that_is_painted_is_lost_behind_a_front_end(front_end):
    torch.manual_seed(0)
    branch = LayoutBranch(ModelSettings(front_end=front_end, layout_channels=8, layout_template_voxel=3), 2, 4)
    for into in branch.into:
        torch.nn.init.normal_(into.weight)
    planes = torch.rand(1, 2 + MORE_PLANES, 16, 16, 16)
    stripes = (-1.0) ** torch.arange(16)  # the finest there are: on the grid behind a front end their mean is zero
    finer = planes.clone()
    finer[:, 0] += 0.1 * stripes[:, None, None]
    before, after = (branch(some, FrontEnd(front_end))[1:] for some in (planes, finer))
    assert [part.shape[-1] for part in before] == [16 // (1 if front_end == "none" else 2) // 2**n for n in range(4)]
    assert (after[0] - before[0]).abs().max() > 0.01
