"""What a caller may choose about how to sample, and what the bundle suggests where nothing is chosen."""

from __future__ import annotations

from typing import Any, TypedDict, get_args

import numpy as np

from frazil.core.errors import RequestError
from frazil.core.settings import (
    MemoryFormat,
    NoiseInterval,
    PrecisionChoice,
    Preset,
    SamplerName,
    SamplingSettings,
)
from frazil.diffusion.schedule import resolve_steps


class SamplingOptions(TypedDict, total=False):
    """How to sample; what is left out, or None, is the bundle's choice or what suits the device.

    Parameters
    ----------
    sampler : ``ddpm`` (the paper), ``ddim``, ``dpm++``, ``sde-dpm++`` or ``unipc``.
    steps : of the sampler; without it the bundle's for its own sampler, else the usual number.
    guidance : how much to exaggerate what sets a class apart: 1 is no guidance, 0 ignores the label. It costs a second network
        evaluation per step.
    guidance_interval : lowest and highest noise level that is guided, in sigma = sqrt((1 - abar) / abar).
    batch_size : samples computed at once. It never changes the noise of a sample, and on the CPU not a bit of it. A GPU may
        round differently from batch size to batch size: by some 1e-5 in ``32-true`` and visibly in ``bf16-mixed``.
    precision : ``32-true`` or ``bf16-mixed``; ``auto`` is bf16 where the device computes in it natively: another device may
        decide, and round, differently.
    memory_format : ``contiguous`` or ``channels-last``, which changes the last bits.
    """

    sampler: SamplerName | None
    steps: int | None
    guidance: float | None
    guidance_interval: NoiseInterval | None
    batch_size: int | None
    precision: PrecisionChoice | None
    memory_format: MemoryFormat | None


def choose_sampling(options: SamplingOptions, preset: Preset) -> SamplingSettings:
    """Return the bundle's settings, overridden by `options`, with nothing left open.

    Raises
    ------
    RequestError : an unknown sampler, a number of steps that it cannot take, or guidance that means nothing or that the bundle
        cannot give.
    """
    suggested = preset.sampling
    sampler = options.get("sampler") or suggested.sampler
    check_word(SamplerName, "sampler", sampler)
    guidance, interval, steps = options.get("guidance"), options.get("guidance_interval"), options.get("steps")
    if guidance is None:
        guidance = suggested.guidance
    if interval is None and guidance != 1:
        interval = suggested.guidance_interval
    _check_guidance(guidance, interval, trained=preset.training.class_dropout > 0)
    if steps is None and sampler == suggested.sampler:
        steps = suggested.steps
    steps = resolve_steps(sampler, preset.diffusion, steps)
    return SamplingSettings(sampler=sampler, steps=steps, guidance=guidance, guidance_interval=interval)


def check_word(known: Any, what: str, word: str) -> None:
    """Refuse what is not one of the words of the literal type `known`."""
    if word not in get_args(known):
        raise RequestError(f"{what} {word!r}: not known; choose one of {', '.join(get_args(known))}")


def _check_guidance(guidance: float, interval: NoiseInterval | None, *, trained: bool) -> None:
    """Refuse guidance that means nothing, or that the bundle cannot give; `trained`: with labels hidden at times."""
    if not (np.isfinite(guidance) and guidance >= 0):
        raise RequestError(f"guidance {guidance:g}: choose 1 (none), more than 1, or 0 to ignore the label")
    if interval is not None:
        lowest, highest = interval
        if not 0 <= lowest < highest:
            raise RequestError(
                f"guidance interval {lowest:g},{highest:g}: give the lower noise level first, then the higher, from 0 up"
            )
        if guidance == 1:
            raise RequestError(
                f"guidance interval {lowest:g},{highest:g}: has no effect with guidance 1; choose a guidance, e.g. 1.5, or "
                "leave the interval out"
            )
    if guidance != 1 and not trained:
        raise RequestError(
            f"guidance {guidance:g}: the bundle was trained with every label shown, so it cannot predict without one; "
            "leave guidance out, or train with training.class_dropout=0.1"
        )
