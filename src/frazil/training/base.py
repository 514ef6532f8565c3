"""What a training starts from when it does not start from nothing: the weights of a bundle, its classes matched to new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from frazil.model.unet import ConditionalUNet

LABEL_WEIGHT = "embed.label.weight"
"""The one tensor with a place for each class: a column each."""


@dataclass(frozen=True)
class Base:
    """A trained network that another training goes on from.

    Parameters
    ----------
    network : trained.
    columns : for each class of the new training, in order, the number of the class of `network` that it begins as; None for a
        class that begins from fresh weights.
    """

    network: ConditionalUNet
    columns: Sequence[int | None]

    @torch.no_grad()
    def put_into(self, network: ConditionalUNet) -> None:
        """Overwrite fresh weights by trained ones; what belongs to a new class stays fresh.

        Parameters
        ----------
        network : of the same settings, with ``len(columns)`` classes.
        """
        state = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        trained, fresh = state[LABEL_WEIGHT], network.state_dict()[LABEL_WEIGHT].clone()
        for number, column in enumerate(self.columns):
            if column is not None:
                fresh[:, number] = trained[:, column]
        network.load_state_dict(state | {LABEL_WEIGHT: fresh})
