"""The forward process and the training loss (eqs. 2 and 4 of the paper)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from frazil.core.records import Condition
from frazil.core.settings import LossWeighting
from frazil.model.noise import NoiseSchedule
from frazil.model.unet import ConditionalUNet


def noise_volumes(
    x0: Float[Tensor, "b ..."], t: Int64[Tensor, "b"], noise: Float[Tensor, "b ..."], schedule: NoiseSchedule
) -> Float[Tensor, "b ..."]:
    """Noise clean volumes to timestep t: ``x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise`` (eq. 2).

    Float32 outside autocast: in bf16 ``sqrt(1 - abar_t)`` is zero for small t. `noise` is standard normal.
    """
    with torch.autocast(x0.device.type, enabled=False):
        abar = schedule.abar(t)
        signal = _per_sample(abar.sqrt(), x0)
        spread = _per_sample((1 - abar).sqrt(), x0)
        return signal * x0 + spread * noise


def denoising_errors(
    network: ConditionalUNet,
    x0: Float[Tensor, "b 1 z y x"],
    condition: Condition,
    t: Int64[Tensor, "b"],
    noise: Float[Tensor, "b 1 z y x"],
    schedule: NoiseSchedule,
) -> Float[Tensor, "b bands"]:
    """Return the mean squared error of each predicted clean volume, ``|x0_hat(x_t, t, c) - x0|^2 / voxels`` (eq. 4), in each band.

    The bands are those of the network's front end; the loss of eq. 4 is their mean. The network runs under the caller's autocast, if any;
    the error is float32.
    """
    x0_hat = network(noise_volumes(x0, t, noise, schedule), t, condition)
    return band_errors(network, x0_hat.to(x0.dtype), x0)


def band_errors(
    network: ConditionalUNet, one: Float[Tensor, "b 1 z y x"], other: Float[Tensor, "b 1 z y x"]
) -> Float[Tensor, "b bands"]:
    """Return the mean squared difference of volumes in each band."""
    return network.front_end.split(one - other).square().flatten(2).mean(dim=2)


def loss_weights(
    t: Int64[Tensor, "b"],
    schedule: NoiseSchedule,
    band_std: Float[Tensor, "bands"],
    *,
    weighting: LossWeighting,
    min_snr_gamma: float,
) -> Float[Tensor, "b bands"]:
    """Return the factor on the error of each volume in each band.

    ``uniform`` is 1. ``min-snr`` is ``min(SNR, gamma)`` with ``SNR = abar / (1 - abar)``: the weights of Hang et al. 2023
    for a network that predicts x0. They take weight from the noise levels at which hardly anything of the volume can be seen.
    ``snr-plus-one`` is ``min(SNR + 1, gamma)``: those of Salimans & Ho 2022 (section 4; the loss of a network that predicts v).
    They add weight to the noise levels at which the finest and faintest frequencies are learned, and take it from none. Their 1 is
    that of data with a standard deviation of 1: a band whose `band_std` is smaller has ``1 / std^2``, so that what a layout tells of its
    fine structure counts where noise hides everything else. gamma is `min_snr_gamma`.
    """
    snr = (schedule.abar(t) / (1 - schedule.abar(t)))[:, None]
    if weighting == "uniform":
        return torch.ones_like(snr * band_std, dtype=torch.float32)
    more = torch.zeros_like(band_std) if weighting == "min-snr" else band_std.clamp(max=1) ** -2
    return (snr + more).clamp(max=min_snr_gamma).float()


def _per_sample(coefficient: Float[Tensor, "b"], x: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
    """Shape one float64 coefficient per sample to multiply volumes, in the precision of `x`."""
    return coefficient.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
