"""Training of the small picker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from frazil.core.seeds import torch_generator
from frazil.model.compute import Compute
from frazil.proof.examples import PickerExamples
from frazil.proof.picker import Picker, PickerNetwork

_BACKGROUND_WEIGHT = 0.1  # in the cross-entropy


def picker_loss(logits: Float[Tensor, "b k z y x"], classes: Int64[Tensor, "b z y x"]) -> Float[Tensor, ""]:
    """Return the cross-entropy plus 1 - Dice, a mean over the classes that these windows show; 0 is background.

    Balls fill few of the voxels, so a cross-entropy alone says little of them. The sum of both is that of nnU-Net (Isensee et al. 2021).
    """
    weights = torch.ones(logits.shape[1])
    weights[0] = _BACKGROUND_WEIGHT
    space = (0, 2, 3, 4)
    share = logits.softmax(dim=1)[:, 1:]
    is_class = F.one_hot(classes, logits.shape[1]).movedim(-1, 1)[:, 1:].to(share)
    dice = 2 * (share * is_class).sum(space) / (share.sum(space) + is_class.sum(space))
    shown = is_class.any(space)
    missed = (1 - dice[shown]).mean() if shown.any() else logits.new_zeros(())
    return F.cross_entropy(logits, classes, weights) + missed


def train_picker(
    examples: PickerExamples,
    labels: Sequence[str],
    *,
    steps: int,
    seed: int = 0,
    batch_size: int = 2,
    learning_rate: float = 3e-3,
    on_step: Callable[[float], None] = lambda _: None,
) -> Picker:
    """Train a picker. The learning rate falls to zero as a cosine; `on_step` gets the loss."""
    compute = Compute.native("cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch_generator(seed, "picker").initial_seed()))
        network = compute.lay_out(PickerNetwork(len(labels), examples.stride))
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        volumes, wanted = zip(*(examples.draw(step, row) for row in range(batch_size)), strict=True)
        with compute.autocast("cpu"):
            logits = network(torch.stack(volumes))
        loss = picker_loss(logits.float(), torch.stack(wanted))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        on_step(loss.item())
    return Picker(network.eval(), tuple(labels), examples.radii_voxel, examples.stride)
