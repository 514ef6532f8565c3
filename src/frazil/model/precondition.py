"""Scales around a network: of its input, of its output, and of the noisy volume that bypasses it, by noise level."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

NETWORK_ERROR = 0.018
"""Error of a network of preset `fast` at the lowest noise, as the standard deviation of a voxel of a z-scored box. 0.046 was measured
over all frequencies; the finest ones, which matter here, err less, and what bypasses the network carries noise. Chosen by the look of
samples (docs/lab/performance.md). Bundles do not store it: another value would be another network and needs another name."""


@dataclass(frozen=True)
class Scales:
    """The prediction is ``skip * x_t + out * network(into * x_t)``, band by band, in float32."""

    skip: Float[Tensor, "b bands 1 1 1"]
    into: Float[Tensor, "b bands 1 1 1"]
    out: Float[Tensor, "b bands 1 1 1"]


def edm_scales(abar: Float[Tensor, "b"], std: Float[Tensor, "bands"]) -> Scales:
    """Return the preconditioning of Karras et al. 2022 (table 1, EDM), with each band's own `sigma_data`.

    They write ``x_t / sqrt(abar) = x0 + sigma noise`` with ``sigma^2 = (1 - abar) / abar``. In our x_t, with s for the
    standard deviation of a band of x0 and ``v = abar s^2 + 1 - abar`` for the variance of the band of x_t::

        skip = sqrt(abar) s^2 / v     into = 1 / sqrt(v)     out = s sqrt((1 - abar) / v)

    `skip` alone is the best linear denoiser of a band (Wiener). For s = 1, v is 1 and the network predicts
    ``sqrt(1 - abar) x0 - sqrt(abar) noise``, which is the negative of v-prediction (Salimans & Ho 2022).
    """
    abar, std = abar.double()[:, None], std.to(abar.device).double()[None, :]
    variance = abar * std**2 + 1 - abar
    coefficients = (abar.sqrt() * std**2 / variance, variance.rsqrt(), std * ((1 - abar) / variance).sqrt())
    return Scales(*(coefficient.float()[:, :, None, None, None] for coefficient in coefficients))


def inverse_variance_scales(
    abar: Float[Tensor, "b"], std: Float[Tensor, "bands"], network_error: float = NETWORK_ERROR
) -> Scales:
    """Return the scales that weigh two estimates of x0 by their precision: the network's, and the noisy volume itself.

    A network that predicts all of x0 smooths what is faintest, at every noise level alike: it errs by some e. ``x_t / sqrt(abar)``
    errs by ``sigma = sqrt((1 - abar) / abar)``, which is less once the noise is low. Two estimates with independent errors are
    best averaged with weights 1 / e^2 and 1 / sigma^2. With ``v = abar e^2 + 1 - abar`` and a band's standard deviation s, which
    is the unit of the network's output::

        skip = sqrt(abar) e^2 / v     into = 1     out = s (1 - abar) / v

    Where sigma is far above e, only the network counts, as with `plain_scales`: so it can be put around a network trained with those.
    e is `network_error`, in the units of x0; the bands are orthonormal, so it is that of a voxel.
    """
    abar, std = abar.double()[:, None], std.to(abar.device).double()[None, :]
    variance = abar * network_error**2 + 1 - abar
    coefficients = (abar.sqrt() * network_error**2 / variance, torch.ones_like(abar), std * (1 - abar) / variance)
    return Scales(*(coefficient.float()[:, :, None, None, None] for coefficient in coefficients))


def plain_scales(std: Float[Tensor, "bands"]) -> Scales:
    """Return the scales of a network whose output is in units of each band's standard deviation, at every noise level alike."""
    out = std.float()[None, :, None, None, None]
    return Scales(out.new_zeros(1), out.new_ones(1), out)
