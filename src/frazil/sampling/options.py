"""What a caller may choose about how to sample, and what the bundle suggests where nothing is chosen."""

from __future__ import annotations

from typing import TypedDict

from pydantic import ValidationError

from frazil.core.console import warn
from frazil.core.errors import RequestError
from frazil.core.presets import explain
from frazil.core.settings import (
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
    sampler : ``ddpm`` (the paper), ``ddim``, ``dpm++``, ``sde-dpm++``, or ``distilled``.
    steps : of the sampler; without it the bundle's for its own sampler, else the usual number.
    guidance : how much to exaggerate what sets a class apart: 1 is no guidance, 0 ignores the label. It costs a second network
        evaluation per step.
    guidance_interval : lowest and highest noise level that is guided, in sigma = sqrt((1 - abar) / abar).
    batch_size : samples computed at once. It never changes the noise of a sample, and on the CPU not a bit of it. A GPU may
        round differently from batch size to batch size: by some 1e-5 in ``32-true`` and visibly in ``bf16-mixed``.
    precision : ``32-true`` or ``bf16-mixed``; ``auto`` is bf16 where the device computes in it natively: another device may
        decide, and round, differently.
    """

    sampler: SamplerName | None
    steps: int | None
    guidance: float | None
    guidance_interval: NoiseInterval | None
    batch_size: int | None
    precision: PrecisionChoice | None


def choose_sampling(options: SamplingOptions, preset: Preset) -> SamplingSettings:
    """Return the bundle's settings, overridden by `options`, with nothing left open.

    Raises
    ------
    RequestError : an unknown sampler, a number of steps that it cannot take, or guidance that means nothing or that the bundle
        cannot give.
    """
    if unknown := options.keys() - SamplingOptions.__annotations__:
        raise RequestError(
            f"{', '.join(sorted(unknown))}: not an option; known: {', '.join(SamplingOptions.__annotations__)}"
        )
    suggested, guidance, interval = preset.sampling, options.get("guidance"), options.get("guidance_interval")
    if guidance is None:
        guidance = suggested.guidance
    if interval is None and guidance != 1:
        interval = suggested.guidance_interval
    content = {
        "sampler": options.get("sampler") or suggested.sampler,
        "guidance": guidance,
        "guidance_interval": interval,
        "height_guidance": suggested.height_guidance,
    }
    try:
        chosen = SamplingSettings.model_validate(content)
    except ValidationError as error:
        raise RequestError(explain(SamplingSettings, error)) from None
    if interval is not None and guidance == 1:
        raise RequestError(
            f"guidance_interval {interval[0]:g},{interval[1]:g}: has no effect with guidance 1; choose a guidance, e.g. 1.5, "
            "or leave the interval out"
        )
    if guidance != 1 and not preset.training.class_dropout:
        raise RequestError(
            f"guidance {guidance:g}: the bundle was trained with every label shown, so it cannot predict without one; "
            "leave guidance out, or train with training.class_dropout=0.1"
        )
    steps = options.get("steps")
    if steps is None and chosen.sampler == suggested.sampler:
        steps = suggested.steps
    chosen = chosen.model_copy(update={"steps": resolve_steps(chosen.sampler, preset.diffusion, steps)})
    if suggested.sampler == "distilled" and (chosen.sampler, chosen.steps) != (suggested.sampler, suggested.steps):
        warn(
            f"{chosen.sampler}, {chosen.steps} steps: the bundle is a student that learned {suggested.steps} steps of distilled and no "
            "others; take its teacher (pretrained-teacher for the bundled one)"
        )
    return chosen
