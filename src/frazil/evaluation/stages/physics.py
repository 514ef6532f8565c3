"""Whether generated volumes look like pieces of real tomograms: spectra, missing wedge, grey values, particles. No network.

Everything is measured once of each volume and compared as means over volumes. All classes together stand in the proportions
of the generated set, so that other proportions among the held-out volumes count for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from frazil.core.records import TiltRange
from frazil.evaluation.metrics.comparison import Comparison, Metric, Role, Values
from frazil.evaluation.metrics.intensities import density, wasserstein
from frazil.evaluation.metrics.measurements import (
    SPECTRA,
    UNKNOWN_TILT_RANGE_DEGREES,
    WEDGE_MARGIN_DEGREES,
    Measurements,
    measure,
)
from frazil.evaluation.metrics.particles import particle_plots, particle_scores
from frazil.evaluation.metrics.spreads import per_sample_spreads
from frazil.evaluation.records import StageRecord
from frazil.evaluation.scores import Plot, Score, known
from frazil.evaluation.stages.material import Material, OnStep, ignore
from frazil.evaluation.volumes import Sets, VolumeSet

NOISE_PER_CLASS = 25
"""Volumes of noise: they are all alike, more would only take time."""

_MEASURING = 0.9  # share of the time

Distance = Callable[[Float[np.ndarray, "rows ..."], Float[np.ndarray, "..."]], Float[np.ndarray, "rows"]]


def mean_distance(
    rows: Float[np.ndarray, "rows ..."], reference: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "rows"]:
    """Return the mean absolute difference of each row to the reference, over the bins that have a value."""
    return np.asarray(np.nanmean(np.abs(rows - reference).reshape(len(rows), -1), axis=1))


def physics(material: Material, on_step: OnStep = ignore) -> StageRecord:
    """Compare generated with held-out volumes in all that can be measured without a network.

    Intervals are 95 % bootstrap intervals over the volumes of a set; the held-out volumes, the reference of all sets, are kept.

    Raises
    ------
    ShapeError : boxes shorter than 16 voxels, or a volume with constant grey values.
    """
    sets, tilt_range_degrees = material.sets, material.tilt_range_degrees
    measured = _measure_sets(sets, tilt_range_degrees, on_step)
    classes = sets.generated.classes
    whole = Comparison.of({role: one for role, one in measured.items() if role != "shuffled"}, None, seed=sets.seed)
    scores = _scores(whole, _said(tilt_range_degrees))
    plots = _plots(whole, sets.generated.voxel_size_angstrom)
    for number, label in enumerate(classes, start=1):
        comparison = Comparison.of(measured, label, seed=sets.seed)
        scores += particle_scores(comparison, sets.generated.voxel_size_angstrom)
        plots += particle_plots(comparison, sets.generated.voxel_size_angstrom)
        on_step(_MEASURING + (1 - _MEASURING) * number / len(classes))
    missing = [label for label in classes if label not in sets.held_out.classes]
    warnings = [f"{label}: no volume is held out, so the physics of this class is not judged" for label in missing]
    spreads = per_sample_spreads(measured["generated"], measured["held-out"])
    return StageRecord(
        scores=tuple(scores),
        plots=tuple(plots),
        warnings=tuple(warnings),
        per_sample={name: known(values) for name, values in spreads.items()},
    )


def _measure_sets(sets: Sets, tilt_range_degrees: TiltRange | None, on_step: OnStep) -> dict[Role, Measurements]:
    """Measure every set; one copy of volumes is held at a time."""
    few = np.concatenate(
        [np.flatnonzero(sets.generated.labels == name)[:NOISE_PER_CLASS] for name in sets.generated.classes]
    )
    noisy = replace(sets, generated=sets.generated.subset(few))
    total = len(few) + 2 * len(sets.generated) + len(sets.held_out)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        on_step(_MEASURING * min(done / total, 1))

    def run(volumes: VolumeSet) -> Measurements:
        return measure(volumes, tilt_range_degrees=tilt_range_degrees, on_volume=count)

    measured: dict[Role, Measurements] = {"generated": run(sets.generated), "held-out": run(sets.held_out)}
    if len(real := sets.training_like_generated()):
        measured["real"] = run(real)
        del real
        measured["shuffled"] = measured["real"].relabelled(sets.shuffled().labels)
    measured["noise"] = run(noisy.noise())
    return measured


def _scores(whole: Comparison, beyond: str) -> list[Score]:
    scores = []
    for name in SPECTRA:
        title = f"Distance of the power spectrum in {name}"
        metric = Metric(f"spectrum_{name.lower()}_dex", title, "lower", unit="dex")
        scores.append(_distance(whole, metric, _curve(name)))
    metric = Metric("wedge_profile_dex", "Distance of the wedge profile", "lower", unit="dex")
    scores.append(_distance(whole, metric, _curve("wedge")))
    metric = Metric(
        "missing_wedge_power_percent", "Power in the missing wedge, of that outside of it", "as real", unit="%"
    )
    if np.isfinite(whole.measured["generated"].wedge_power).all():
        scores.append(whole.score(metric, lambda one: 100 * one.wedge_power, _itself, note=f"tilts beyond {beyond}"))
    else:
        scores.append(whole.unmeasured(metric, f"no coefficient of the box lies beyond {beyond}"))
    metric = Metric("grey_values_wasserstein", "Wasserstein distance of the grey values", "lower", unit="σ")
    scores.append(_distance(whole, metric, lambda one: one.grey, wasserstein))
    metric = Metric("grey_values_skew", "Skew of the grey values", "as real")
    scores.append(whole.score(metric, lambda one: one.skew, _itself))
    metric = Metric("grey_values_kurtosis", "Kurtosis of the grey values, over that of a Gaussian", "as real")
    scores.append(whole.score(metric, lambda one: one.kurtosis, _itself))
    metric = Metric("autocorrelation_distance", "Distance of the autocorrelation along z, y and x", "lower")
    scores.append(_distance(whole, metric, lambda one: one.autocorrelation[:, :, 1:]))
    return scores


def _plots(whole: Comparison, voxel_size_angstrom: float) -> list[Plot]:
    one = whole.measured["generated"]
    plots = []
    for name in SPECTRA:
        x_title, y_title = f"cycles per voxel of {voxel_size_angstrom:.1f} Å", "log₁₀ power"
        title = f"Power spectrum in {name}"
        plots.append(
            whole.plot(f"spectrum_{name.lower()}", title, one.at[name], _curve(name), x_title=x_title, y_title=y_title)
        )
    x_title, y_title = "angle to kx in the kz-kx plane, degrees", "log₁₀ power over that at kx"
    plots.append(
        whole.plot("wedge_profile", "Missing wedge", one.at["wedge"], _curve("wedge"), x_title=x_title, y_title=y_title)
    )
    grey, _ = density(one.grey[:1])
    plots.append(
        whole.plot(
            "grey_values",
            "Grey values",
            grey,
            lambda one: density(one.grey)[1],
            x_title="standard deviations from the mean (particles dark)",
            y_title="log₁₀ share per σ",
            drawn=_log10,
        )
    )
    for axis, name in enumerate("zyx"):
        lags = np.arange(one.autocorrelation.shape[2], dtype=np.float64)
        plots.append(
            whole.plot(
                f"autocorrelation_{name}",
                f"Autocorrelation along {name}",
                lags,
                _along(axis),
                x_title=f"lag, voxels of {voxel_size_angstrom:.1f} Å",
                y_title="autocorrelation",
            )
        )
    return plots


def _said(tilt_range_degrees: TiltRange | None) -> str:
    """Return where the wedge is looked for, in words."""
    lowest, highest = tilt_range_degrees or UNKNOWN_TILT_RANGE_DEGREES
    outside = f"{lowest - WEDGE_MARGIN_DEGREES:g} and {highest + WEDGE_MARGIN_DEGREES:g} degrees"
    return outside if tilt_range_degrees else f"{outside} (the tilt range is not known)"


def _curve(name: str) -> Values:
    return lambda one: one.curves[name]


def _along(axis: int) -> Values:
    return lambda one: one.autocorrelation[:, axis]


def _itself(means: Float[np.ndarray, "rows"]) -> Float[np.ndarray, "rows"]:
    return means


def _distance(whole: Comparison, metric: Metric, values: Values, distance: Distance = mean_distance) -> Score:
    """Return the distance of the mean to that of the held-out volumes."""
    if not whole.enough:
        return whole.unmeasured(metric)
    reference = whole.reference(values)
    return whole.score(metric, values, lambda means: distance(means, reference))


def _log10(share: Float[np.ndarray, "bins"]) -> Float[np.ndarray, "bins"]:
    return np.asarray(np.log10(share, out=np.full(len(share), np.nan), where=share > 0))
