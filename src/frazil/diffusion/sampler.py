"""From noise to volumes: one loop for all samplers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from frazil.diffusion.schedule import make_scheduler, resolve_steps
from frazil.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from frazil.records import Condition
    from frazil.settings import DiffusionSettings, Precision, SamplerName

    Network = Callable[[Tensor, Tensor, Condition], Tensor]


@torch.no_grad()
def sample_volumes(
    network: Network,
    condition: Condition,
    *,
    box_size_voxel: int | Sequence[int],
    generators: Sequence[torch.Generator],
    settings: DiffusionSettings,
    sampler: SamplerName = "ddpm",
    steps: int | None = None,
    device: torch.device | str = "cpu",
    precision: Precision = "32-true",
    on_step: Callable[[], None] | None = None,
) -> Float[Tensor, "b 1 z y x"]:
    """Sample one volume for every row of `condition`.

    Noise comes from one generator a sample and is drawn on the generator's device: with CPU generators a sample has the
    same noise on every machine. On the CPU it is bitwise the same volume in every batch; on other devices the kernels may
    round differently from batch size to batch size.

    Parameters
    ----------
    network : x0_hat(x_t, t, condition).
    condition : `(b,)` labels and `(b, 3)` positions.
    box_size_voxel : edge of a cube, or the three edges zyx.
    generators : one a sample, on the CPU; drives its first noise and the noise of every step.
    settings : the noise schedule that the network was trained with.
    steps : network evaluations; None is the sampler's usual number (`resolve_steps`).
    precision : ``bf16-mixed`` runs the network under autocast; volumes and steps stay float32.
    on_step : called after every step, for progress.

    Raises
    ------
    RequestError : not one generator a sample, or a step count that the sampler cannot take.
    """
    device = torch.device(device)
    edges = (box_size_voxel,) * 3 if isinstance(box_size_voxel, int) else tuple(box_size_voxel)
    if len(generators) != len(condition):
        raise RequestError(f"{len(generators)} generators for {len(condition)} samples; pass one generator a sample")
    scheduler = make_scheduler(sampler, settings, resolve_steps(sampler, settings, steps))
    condition = condition.to(device)
    options = {"generator": list(generators)} if sampler == "ddpm" else {}  # the other samplers add no noise
    x = torch.stack([torch.randn((1, *edges), generator=g, device=g.device).to(device) for g in generators])
    for step in scheduler.timesteps.tolist():
        t = torch.full((len(condition),), step, dtype=torch.int64, device=device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
            x0_hat = network(x, t, condition)
        x = scheduler.step(x0_hat.float(), step, x, return_dict=False, **options)[0]
        if on_step is not None:
            on_step()
    return x
