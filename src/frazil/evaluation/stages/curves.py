"""Are generated volumes near real data of which only slices, or curves, are known (`frazil.volume.slices`)?

Classes count as they do in the real curves. The floor is the distance between two halves of the real subtomograms; a file
that does not say it gets that between halves of as many generated volumes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from frazil.core.seeds import numpy_generator
from frazil.core.slices import SliceCurves, SliceSet
from frazil.evaluation.metrics.metric import Estimate, Metric
from frazil.evaluation.records import StageRecord
from frazil.evaluation.scores import Line, Plot, Score, known
from frazil.evaluation.stages.material import Material, OnStep, ignore
from frazil.evaluation.volumes import VolumeSet
from frazil.io.checks import clean_name
from frazil.volume.slices import SliceMeasurements, curve_distances, grey_values, halves_floor, measure_slices

CURVES_STAGE = "curves"
_REPLICATES = 100
_TITLES = {
    "spectrum": "Power, mean of the planes",
    "spectrum XY": "Power in XY, largest difference",
    "spectrum XZ": "Power in XZ, largest difference",
    "spectrum YZ": "Power in YZ, largest difference",
    "sectors": "Power by direction, largest difference",
    "wedge": "Power by angle to kx in XZ",
    "profile": "Radial profile in XY, correlation",
}


def curves(material: Material, on_step: OnStep = ignore) -> StageRecord:
    """Compare slices of the generated volumes with the curves of `material.curves`. Scores are ``curves_*``."""
    assert material.curves is not None
    real, weights = material.curves.curves, material.curves.class_weights
    named = {clean_name(label): label for label in real.radial_profile}
    measured, noise = (_measure(one, named) for one in (material.sets.generated, material.sets.noise()))
    labels = np.array(measured.labels)
    own = measured.curves(class_weights=weights)
    drawn = []
    for replicate in range(_REPLICATES):
        random = numpy_generator(material.sets.seed, "curves", replicate)
        groups = (np.flatnonzero(labels == label) for label in sorted(set(measured.labels)))
        rows = np.concatenate([random.choice(group, len(group)) for group in groups])
        drawn.append(curve_distances(measured.curves(rows, class_weights=weights), real))
        on_step((replicate + 1) / _REPLICATES)
    floors = real.floors or halves_floor(measured, real.subtomograms)
    distances, of_noise = curve_distances(own, real), curve_distances(noise.curves(class_weights=weights), real)
    both = {name: (value, grey_values(real)[name]) for name, value in grey_values(own).items()}
    scores = tuple(
        _score(
            name, value, [one[name] for one in drawn], floors.get(name), of_noise[name], both.get(name), len(measured)
        )
        for name, value in distances.items()
    )
    warning = () if real.floors else (
        "the measured curves hold no floors; that of halves of as many generated volumes stands in, which a set that varies "
        "too much makes too wide",
    )  # fmt: skip
    return StageRecord(scores=scores, plots=_plots(own, real), warnings=warning)


def _measure(volumes: VolumeSet, named: Mapping[str, str]) -> SliceMeasurements:
    labels = [named.get(clean_name(str(label)), str(label)) for label in volumes.labels]
    return measure_slices(SliceSet.of_volumes(volumes.volumes, labels, volumes.voxel_size_angstrom))


def _score(
    name: str,
    value: float,
    drawn: list[float],
    floor: float | None,
    noise: float,
    both: tuple[float, float] | None,
    count: int,
) -> Score:
    kind, _, label = name.partition(" ")
    is_profile = kind == "profile"
    slug = "profile" if is_profile else re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    unit = "dex" if kind in ("spectrum", "sectors", "wedge") else ""
    metric = Metric(
        f"curves_{slug}{'_dex' if unit else ''}",
        _TITLES["profile"] if is_profile else _TITLES.get(name) or f"{name[0].upper()}{name[1:]}, difference",
        "higher" if is_profile else "lower",
        question="near real data",
        unit=unit,
    )
    if not np.isfinite(value):
        return metric.score(label=label or None if is_profile else None, note="Not measured: no common class.")
    size = abs if both else float
    low, high = np.nanpercentile([size(one) for one in drawn], (2.5, 97.5))
    found = size(value)
    return metric.score(
        {
            "generated": Estimate(found, (min(float(low), found), max(float(high), found))),
            "real": Estimate(floor),
            "noise": Estimate(size(noise) if np.isfinite(noise) else None),
        },
        label=label or None if is_profile else None,
        count=count,
        note=f"generated {both[0]:.3g}, real slices {both[1]:.3g}" if both else "",
    )


def _plots(own: SliceCurves, real: SliceCurves) -> tuple[Plot, ...]:
    """Draw the spectra and the wedge profile."""
    at = real.cycles_per_voxel
    spectra = [
        (np.interp(at, own.cycles_per_voxel, np.array(one, dtype=float)), other)
        for one, other in zip(own.log10_power, real.log10_power, strict=True)
    ]
    drawn = [
        (f"Power in {plane} slices", "cycles per voxel", at, *pair)
        for plane, pair in zip(real.planes, spectra, strict=True)
    ]
    wedge = np.array(own.wedge_log10_power, dtype=float)
    angle = "angle to kx in XZ slices, degrees"
    drawn.append(("Missing wedge in slices", angle, real.wedge_angle_degrees, wedge, real.wedge_log10_power))
    return tuple(
        Plot(
            name=f"curves_{place}",
            title=title,
            x_title=x_title,
            y_title="log₁₀ power",
            x=x,
            lines=(Line(name="generated", y=known(one)), Line(name="real slices", y=other)),
        )
        for place, (title, x_title, x, one, other) in enumerate(drawn)
    )
