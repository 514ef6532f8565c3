"""Training of the small picker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from frazil.core.seeds import torch_generator
from frazil.model.compute import Compute, native_precision
from frazil.proof.examples import PickerExamples
from frazil.proof.picker import Picker, PickerNetwork

_BACKGROUND_WEIGHT = 0.1


def train_picker(
    examples: PickerExamples,
    labels: Sequence[str],
    *,
    steps: int,
    seed: int = 0,
    batch_size: int = 2,
    learning_rate: float = 1e-3,
    on_step: Callable[[float], None] = lambda _: None,
) -> Picker:
    """Train a picker. The learning rate falls to zero as a cosine; `on_step` gets the loss."""
    compute = Compute.named(native_precision("cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch_generator(seed, "picker").initial_seed()))
        network = compute.lay_out(PickerNetwork(len(labels), examples.stride))
    weights = torch.ones(1 + len(labels))
    weights[0] = _BACKGROUND_WEIGHT
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        volumes, wanted = zip(*(examples.draw(step, row) for row in range(batch_size)), strict=True)
        with compute.autocast("cpu"):
            logits = network(torch.stack(volumes))
        loss = F.cross_entropy(logits.float(), torch.stack(wanted), weights)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        on_step(loss.item())
    return Picker(network.eval(), tuple(labels), examples.radii_voxel, examples.stride)
