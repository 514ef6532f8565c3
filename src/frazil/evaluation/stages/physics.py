"""Whether generated volumes look like pieces of real tomograms: spectra, missing wedge, gray values, particles. No network.

Everything is measured once per volume and compared as means over volumes. All classes together are weighted by their shares in
the generated set, so that other proportions among the held-out volumes do not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from frazil.core.records import TiltRange
from frazil.evaluation.metrics.group import Group, Values
from frazil.evaluation.metrics.measurements import (
    SPECTRA,
    UNKNOWN_TILT_RANGE_DEGREES,
    WEDGE_MARGIN_DEGREES,
    Measurements,
    density,
    measure,
    wasserstein,
)
from frazil.evaluation.metrics.metric import MINIMUM, Metric, Role
from frazil.evaluation.metrics.particles import held_out_ring, particle_plots, particle_scores
from frazil.evaluation.metrics.profiles import contrast_at_ring
from frazil.evaluation.records import StageRecord
from frazil.evaluation.scores import Plot, Score, known
from frazil.evaluation.stages.material import Material, OnStep, count_steps, ignore
from frazil.evaluation.volumes import VolumeSet

_NOISE_PER_CLASS = 25  # noise is all alike, more would only take time
_CLASS_STEPS = 3  # judging a class takes about as long as measuring so many volumes

_SPREADS: dict[str, Values] = {
    "spectrum": lambda one: np.concatenate([one.curves[name] for name in SPECTRA], axis=1),
    "wedge": lambda one: one.curves["wedge"],
    "grey values": lambda one: np.stack([one.skew, one.kurtosis], axis=1),
    "profile": lambda one: one.profile,
}

Distance = Callable[[Float[np.ndarray, "rows ..."], Float[np.ndarray, "..."]], Float[np.ndarray, "rows"]]


def physics(material: Material, on_step: OnStep = ignore) -> StageRecord:
    """Compare generated with held-out volumes in all that can be measured without a network.

    Intervals are 95 % bootstrap intervals over the volumes of a set; the held-out volumes, the reference of all sets, are kept.
    """
    sets, voxel_size_angstrom = material.sets, material.sets.generated.voxel_size_angstrom
    classes = sets.generated.classes
    volumes = 2 * len(sets.generated) + _NOISE_PER_CLASS * len(classes) + len(sets.held_out)
    advance = count_steps(on_step, volumes + _CLASS_STEPS * len(classes))
    measured = _measure_sets(material, lambda: advance(1))
    everything = Group.of({role: one for role, one in measured.items() if role != "shuffled"}, None, seed=sets.seed)
    scores = [*_scores(everything, material.tilt_range_degrees)]
    plots = [*_plots(everything, voxel_size_angstrom)]
    for label in classes:
        group = Group.of(measured, label, seed=sets.seed)
        scores += particle_scores(group, voxel_size_angstrom)
        plots += particle_plots(group, voxel_size_angstrom)
        advance(_CLASS_STEPS)
    on_step(1.0)
    missing = [label for label in classes if label not in sets.held_out.classes]
    spreads = per_sample_spreads(measured["generated"], measured["held-out"])
    return StageRecord(
        scores=tuple(scores),
        plots=tuple(plots),
        warnings=tuple(f"{label}: no held-out volumes; no physics scores for this class" for label in missing),
        per_sample={name: known(values) for name, values in spreads.items()},
    )


def mean_distance(
    rows: Float[np.ndarray, "rows ..."], reference: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "rows"]:
    """Return the mean absolute difference of each row to the reference, over the bins that have a value."""
    return np.asarray(np.nanmean(np.abs(rows - reference).reshape(len(rows), -1), axis=1))


def per_sample_spreads(generated: Measurements, held_out: Measurements) -> dict[str, Float[np.ndarray, "n"]]:
    """Return numbers of every generated volume; larger is worse, real volumes have about 1.

    ``spectrum``, ``wedge``, ``grey values`` and ``profile`` are root mean squares, over what they consist of, of the distance
    from the mean of the held-out volumes of the class, in their standard deviations. (Of all classes, where a class has fewer
    than five.) ``ring`` is by how many standard deviations the ring is shallower than the mean of the class, with a sign: 0 is
    as real, and so are all volumes of a class without a ring. Empty with fewer than five held-out volumes.
    """
    if len(held_out) < MINIMUM:
        return {}
    labels, counts = np.unique(held_out.labels, return_counts=True)
    classes = [str(label) for label in labels[counts >= MINIMUM]]
    found = {}
    for name, values in _SPREADS.items():
        ours, real = values(generated), values(held_out)
        filled = np.isfinite(real).all(axis=0) & np.isfinite(ours).all(axis=0)
        ours, real = ours[:, filled], real[:, filled]
        everything = real.mean(axis=0)
        means = {label: real[held_out.labels == label].mean(axis=0) for label in classes}
        distance, centered = (
            rows - np.stack([means.get(label, everything) for label in of.labels])
            for rows, of in ((ours, generated), (real, held_out))
        )
        deviation = centered.std(axis=0)
        scaled = np.divide(distance, deviation, out=np.zeros_like(distance), where=deviation > 0)
        found[name] = np.asarray(np.sqrt(np.square(scaled).mean(axis=1)))
    found["ring"] = np.zeros(len(generated))
    for label in classes:
        if (ring := held_out_ring(real_class := held_out.of(label))) is not None:
            depths = contrast_at_ring(real_class.profile, ring)
            own = np.flatnonzero(generated.labels == label)
            below = depths.mean() - contrast_at_ring(generated.profile[own], ring)
            found["ring"][own] = below / max(depths.std(), 1e-6)
    return found


def _measure_sets(material: Material, on_volume: Callable[[], None]) -> dict[Role, Measurements]:
    """Measure every set; one copy of volumes is held at a time."""
    sets = material.sets

    def run(volumes: VolumeSet) -> Measurements:
        return measure(volumes, tilt_range_degrees=material.tilt_range_degrees, on_volume=on_volume)

    measured: dict[Role, Measurements] = {"generated": run(sets.generated), "held-out": run(sets.held_out)}
    if set(sets.generated.classes) & set(sets.training.classes):
        measured["real"] = run(sets.training_like_generated())
        measured["shuffled"] = replace(measured["real"], labels=sets.shuffled().labels)
    few = [np.flatnonzero(sets.generated.labels == name)[:_NOISE_PER_CLASS] for name in sets.generated.classes]
    measured["noise"] = run(replace(sets, generated=sets.generated.subset(np.concatenate(few))).noise())
    return measured


def _scores(everything: Group, tilt_range_degrees: TiltRange | None) -> Iterator[Score]:
    def distance(name: str, title: str, values: Values, *, unit: str = "", of: Distance = mean_distance) -> Score:
        """Return the distance of the mean from that of the held-out volumes."""
        metric = Metric(name, title, "lower", unit=unit)
        if not everything.enough:
            return everything.unmeasured(metric)
        reference = everything.reference(values)
        return everything.score(metric, values, lambda means: of(means, reference))

    for name in SPECTRA:
        title = f"Distance of the power spectrum in {name}"
        yield distance(f"spectrum_{name.lower()}_dex", title, _curve(name), unit="dex")
    yield distance("wedge_profile_dex", "Distance of the wedge profile", _curve("wedge"), unit="dex")
    lowest, highest = tilt_range_degrees or UNKNOWN_TILT_RANGE_DEGREES
    beyond = f"{lowest - WEDGE_MARGIN_DEGREES:g} and {highest + WEDGE_MARGIN_DEGREES:g} degrees"
    beyond += "" if tilt_range_degrees else " (the tilt range is not known)"
    title = "Power in the missing wedge, of that outside of it"
    metric = Metric("missing_wedge_power_percent", title, "as real", unit="%")
    if np.isfinite(everything.measured["generated"].wedge_power).all():
        yield everything.score(metric, lambda one: 100 * one.wedge_power, note=f"tilts beyond {beyond}")
    else:
        yield everything.unmeasured(metric, f"no coefficient of the box lies beyond {beyond}")
    title = "Wasserstein distance of the gray values"
    yield distance("grey_values_wasserstein", title, lambda one: one.grey, unit="σ", of=wasserstein)
    yield everything.score(Metric("grey_values_skew", "Skew of the gray values", "as real"), lambda one: one.skew)
    title = "Kurtosis of the gray values, over that of a Gaussian"
    yield everything.score(Metric("grey_values_kurtosis", title, "as real"), lambda one: one.kurtosis)
    title = "Distance of the autocorrelation along z, y and x"
    yield distance("autocorrelation_distance", title, lambda one: one.autocorrelation[:, :, 1:])


def _plots(everything: Group, voxel_size_angstrom: float) -> Iterator[Plot]:
    one = everything.measured["generated"]
    for name in SPECTRA:
        yield everything.plot(
            f"spectrum_{name.lower()}",
            f"Power spectrum in {name}",
            one.at[name],
            _curve(name),
            x_title=f"cycles per voxel of {voxel_size_angstrom:.1f} Å",
            y_title="log₁₀ power",
        )
    yield everything.plot(
        "wedge_profile",
        "Missing wedge",
        one.at["wedge"],
        _curve("wedge"),
        x_title="angle to kx in the kz-kx plane, degrees",
        y_title="log₁₀ power over that at kx",
    )
    yield everything.plot(
        "grey_values",
        "Gray values",
        density(one.grey[:1])[0],
        lambda one: density(one.grey)[1],
        x_title="standard deviations from the mean (particles dark)",
        y_title="log₁₀ share per σ",
        drawn=lambda share: np.log10(share, out=np.full(len(share), np.nan), where=share > 0),
    )
    for axis, name in enumerate("zyx"):
        yield everything.plot(
            f"autocorrelation_{name}",
            f"Autocorrelation along {name}",
            np.arange(one.autocorrelation.shape[2], dtype=np.float64),
            _along(axis),
            x_title=f"lag, voxels of {voxel_size_angstrom:.1f} Å",
            y_title="autocorrelation",
        )


def _curve(name: str) -> Values:
    return lambda one: one.curves[name]


def _along(axis: int) -> Values:
    return lambda one: one.autocorrelation[:, axis]
