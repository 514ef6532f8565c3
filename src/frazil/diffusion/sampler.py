"""From noise to volumes: one loop for all samplers, with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from frazil.core.errors import RequestError
from frazil.core.records import Condition
from frazil.core.settings import DiffusionSettings, Precision, SamplingSettings
from frazil.diffusion.schedule import make_solver
from frazil.model.compute import Compute
from frazil.model.unet import ConditionalUNet
from frazil.volume.layout import outside_heights

Network = Callable[[Tensor, Tensor, Condition], Tensor]

HEIGHT_GUIDED_SIGMA = 2.0
"""Noise level, sigma = sqrt((1 - abar) / abar), from which on the height guides: what will be a particle is decided above it."""


@torch.no_grad()
def sample_volumes(
    network: Network,
    condition: Condition,
    *,
    box_size_voxel: int | Sequence[int],
    generators: Sequence[np.random.Generator],
    settings: DiffusionSettings,
    sampling: SamplingSettings | None = None,
    device: torch.device | str = "cpu",
    precision: Precision = "32-true",
    heights: tuple[float, float] | None = None,
    on_step: Callable[[], None] | None = None,
) -> Float[Tensor, "b 1 z y x"]:
    """Sample one volume for every row of `condition`.

    Noise comes from one NumPy generator per sample: the same on every device. On the CPU a sample is bitwise the same volume in
    every batch; on other devices the kernels may round differently for different batch sizes.

    Parameters
    ----------
    box_size_voxel : edge of a cube, or the three edges zyx.
    generators : one per sample; drives its first noise and the noise of every step.
    settings : the noise schedule that the network was trained with.
    sampling : sampler, steps and guidance; None is ``ddpm`` without guidance. Outside its interval of noise levels, both ends
        included, the prediction is not guided (`guided_prediction`).
    heights : between which training particles lie (`BundleCard.heights`): outside, guidance by the height acts; None for nowhere.
    precision : ``bf16-mixed`` runs the network under autocast; volumes and steps stay float32.
    """
    device = torch.device(device)
    edges = (box_size_voxel,) * 3 if isinstance(box_size_voxel, int) else tuple(box_size_voxel)
    if len(generators) != len(condition):
        raise RequestError(f"{len(generators)} generators for {len(condition)} samples; pass one per sample")

    def noise() -> Float[Tensor, "b 1 z y x"]:
        drawn = [generator.standard_normal((1, *edges), dtype=np.float32) for generator in generators]
        return torch.from_numpy(np.stack(drawn)).to(device)

    sampling = sampling or SamplingSettings()
    solver = make_solver(sampling.sampler, settings, sampling.steps)
    condition = condition.to(device)
    with Compute.named(precision).autocast(device.type):
        condition = read_layout(network, condition)
    lowest, highest = sampling.guidance_interval or (0.0, float("inf"))
    outside = None
    if sampling.height_guidance != 1 and heights is not None and condition.layout is not None:
        outside = outside_heights(condition.layout, heights)
    x = noise()
    for timestep, sigma in zip(solver.timesteps, solver.sigmas, strict=True):
        t = torch.full((len(condition),), timestep, dtype=torch.int64, device=device)
        scale = sampling.guidance if lowest <= sigma <= highest else 1.0
        push = None if outside is None or sigma < HEIGHT_GUIDED_SIGMA else (sampling.height_guidance - 1) * outside
        with Compute.named(precision).autocast(device.type):
            x0_hat = guided_prediction(network, x, t, condition, scale, push)
        x = solver.step(x0_hat, x, noise() if solver.draws_noise else None)
        if on_step is not None:
            on_step()
    return x


def read_layout(network: Network, condition: Condition) -> Condition:
    """Return the condition with what a network takes from its layout, if it takes one: read once, it serves all steps."""
    return network.read(condition) if isinstance(network, ConditionalUNet) else condition


def guided_prediction(
    network: Network,
    x_t: Float[Tensor, "b 1 z y x"],
    t: Int64[Tensor, "b"],
    condition: Condition,
    scale: float,
    push: Float[Tensor, "b z"] | None = None,
) -> Float[Tensor, "b 1 z y x"]:
    """Predict the clean volumes, moved away from what the network predicts without a label (Ho & Salimans 2022).

    Guidance in a limited interval of noise levels is from Kynkaanniemi et al. 2024: at high noise, guidance makes the samples of a
    class alike; at low noise it does nothing.

    A `scale` of 1 is the conditional prediction, 0 the one without a label, above 1 exaggerates what sets the class apart. Any value
    but 0 and 1 takes two passes, one after the other: one pass of twice the batch is no faster and takes twice the memory.

    `push` does the same, plane by plane, for what the height in the tomogram tells: ``push * (with height - without)`` is added, from
    which the mean of each plane is taken, so that no plane becomes darker than others. Where it is 0, not a bit changes.
    """
    told = guided = network(x_t, t, condition).float() if scale or push is not None else torch.empty(0)
    if scale != 1:
        without = network(x_t, t, condition.without_label()).float()
        # Ho & Salimans eq. 6, in terms of x0 and with their w = scale - 1
        guided = without + scale * (told - without) if scale else without
    if push is None or not push.any():
        return guided
    difference = told - network(x_t, t, condition.without_height()).float()
    difference -= difference.mean(dim=(3, 4), keepdim=True)
    return guided + push[:, None, :, None, None] * difference
