"""What a front end must know of the training boxes before a training begins."""

from __future__ import annotations

import torch

from frazil.dataset.subtomograms import Subtomograms
from frazil.model.wavelet import FrontEnd

_BOXES = 256
"""Enough: even one box gives the deviations of its bands to a few per cent."""

_FAINTEST = 1e-3
"""A band without any signal must not become a scale of zero."""


@torch.no_grad()
def measure_bands(front_end: FrontEnd, training: Subtomograms) -> None:
    """Set the front end's `std` to the root mean square of each band, over boxes spread evenly over the training set.

    The same boxes always give the same numbers, also on other devices and after a restart.
    """
    if front_end.name == "none":
        return
    rows = range(0, len(training), max(1, len(training) // _BOXES))
    squares = [front_end.split(training[row].volume[None].double()).square().mean(dim=(0, 2, 3, 4)) for row in rows]
    front_end.std.copy_(torch.stack(squares).mean(dim=0).sqrt().clamp(min=_FAINTEST))
