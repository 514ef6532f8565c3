"""How far a single volume lies from the real ones of its class, in spreads of the real ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from frazil.evaluation.metrics.comparison import MINIMUM, Values
from frazil.evaluation.metrics.measurements import SPECTRA, Measurements
from frazil.evaluation.metrics.particles import held_out_ring
from frazil.evaluation.metrics.profiles import contrast_at_ring

_KINDS: dict[str, Values] = {
    "spectrum": lambda one: np.concatenate([one.curves[name] for name in SPECTRA], axis=1),
    "wedge": lambda one: one.curves["wedge"],
    "grey values": lambda one: np.stack([one.skew, one.kurtosis], axis=1),
    "profile": lambda one: one.profile,
}


def per_sample_spreads(generated: Measurements, held_out: Measurements) -> dict[str, Float[np.ndarray, "n"]]:
    """Return numbers of every generated volume; larger is worse, real volumes have about 1.

    ``spectrum``, ``wedge``, ``grey values`` and ``profile`` are root mean squares, over what they consist of, of the distance
    from the mean of the held-out volumes of the class, in their standard deviations. (Of all classes, where a class has fewer
    than five.) ``ring`` is by how many standard deviations the ring is shallower than the mean of the class, with a sign: 0 is
    as real, and so are all volumes of a class without a ring. Empty with fewer than five held-out volumes.
    """
    if len(held_out) < MINIMUM:
        return {}
    found = {
        name: _spreads(values(generated), values(held_out), generated, held_out) for name, values in _KINDS.items()
    }
    return {**found, "ring": _shallower(generated, held_out)}


def _spreads(
    values: Float[np.ndarray, "n bins"],
    real: Float[np.ndarray, "m bins"],
    generated: Measurements,
    held_out: Measurements,
) -> Float[np.ndarray, "n"]:
    filled = np.isfinite(real).all(axis=0) & np.isfinite(values).all(axis=0)
    values, real = values[:, filled], real[:, filled]
    means = {label: real[held_out.labels == label].mean(axis=0) for label in _classes(held_out)}
    everything = real.mean(axis=0)
    centered = real - np.stack([means.get(label, everything) for label in held_out.labels])
    deviation = centered.std(axis=0)
    distance = values - np.stack([means.get(label, everything) for label in generated.labels])
    scaled = np.divide(distance, deviation, out=np.zeros_like(distance), where=deviation > 0)
    return np.asarray(np.sqrt(np.square(scaled).mean(axis=1)))


def _shallower(generated: Measurements, held_out: Measurements) -> Float[np.ndarray, "n"]:
    shallower = np.zeros(len(generated))
    for label in _classes(held_out):
        real = held_out.of(label)
        if (ring := held_out_ring(real)) is None:
            continue
        depths = contrast_at_ring(real.profile, ring)
        own = np.flatnonzero(generated.labels == label)
        below = depths.mean() - contrast_at_ring(generated.profile[own], ring)
        shallower[own] = below / max(depths.std(), 1e-6)
    return shallower


def _classes(held_out: Measurements) -> list[str]:
    """Return the classes that have enough held-out volumes."""
    labels, counts = np.unique(held_out.labels, return_counts=True)
    return [str(label) for label in labels[counts >= MINIMUM]]
