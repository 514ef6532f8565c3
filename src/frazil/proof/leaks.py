"""Refusing proofs that prove nothing: test tomograms that something has seen in training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from frazil.composition.record import RECORD_FILE as COMPOSITION
from frazil.composition.record import CompositionRecord
from frazil.core.errors import PickError, SourceError
from frazil.dataset.tomograms.description import voxels_digest
from frazil.dataset.tomograms.store import TomogramStore
from frazil.io.sources import open_source, source_at
from frazil.proof.arms import ANNOTATED
from frazil.proof.records import ProofRequest
from frazil.proof.trial import references
from frazil.simulation.record import RECORD_FILE as SIMULATION
from frazil.simulation.record import SimulationRecord

_SAME_ANGSTROM = 2.0
_SAME_SHARE = 0.5
"""A tomogram was made after the picks of another if more than this share of them recurs."""


def check_leaks(request: ProofRequest, stores: Mapping[str, TomogramStore]) -> list[str]:
    """Refuse a test tomogram that was trained on; return what was checked, for people.

    Tomograms are recognized by the digests of their gray values, and layouts by their picks, whatever they are called.
    """
    annotated = stores[ANNOTATED]
    digests = annotated.description.tomogram_digests
    for run in request.train:
        if twin := [other for other in request.test if digests[other] == digests[run]]:
            raise PickError(f"{request.project}: {run} and {twin[0]} are one tomogram; train or test with it, not both")
    checked = ["no tomogram is in training and test"]
    for name, project in request.projects.items():
        _check_layouts(request, annotated, stores[name], Path(project))
        checked.append(f"{name}: not made after the picks of a test tomogram")
        checked.append(f"{name}: {_check_generator(request, Path(project))}")
    return checked


def _check_layouts(request: ProofRequest, annotated: TomogramStore, made: TomogramStore, project: Path) -> None:
    for test in request.test:
        for label in annotated.description.labels:
            wanted = references(annotated, test, label)
            for run in made.runs if len(wanted) > 1 else []:
                there = references(made, run, label)
                if not len(there):
                    continue
                distance, _ = KDTree(there).query(wanted)
                if np.mean(distance < _SAME_ANGSTROM) > _SAME_SHARE:
                    raise PickError(
                        f"{project}: {run} has its {label} where test run {test} has them; make it from the training runs alone"
                    )


def _check_generator(request: ProofRequest, project: Path) -> str:
    """Refuse a project whose bundle has learned from a test tomogram, or whose preset was calibrated on one."""
    folder = project if project.is_dir() else project.parent
    if (folder / COMPOSITION).exists():
        composed = CompositionRecord.read(folder / COMPOSITION, SourceError)
        how = f"its bundle {composed.bundle} has learned from"
        voxel = next(iter(composed.runs.values())).voxel_size_angstrom
        seen = dict.fromkeys(composed.tomograms_seen, voxel)
    elif (folder / SIMULATION).exists():
        simulated = SimulationRecord.read(folder / SIMULATION, SourceError)
        how = f"its preset {simulated.preset} was calibrated on"
        seen = simulated.calibrated_on or {}
    else:
        return "frazil did not make it, so what it was made from is not known"
    if not seen:
        return f"it does not name any tomogram that {how}: not checked"
    unseen, scales = (*request.test, *request.pick), []
    for voxel in sorted(set(seen.values())):
        source = source_at(Path(request.project), request.source, voxel, unseen[0])
        if source is None:
            scales.append(f"{voxel:g} A")
            source = open_source(Path(request.project), request.source)
        for run in unseen:
            tomogram = source.read(run)
            inverted = replace(tomogram, volume=-tomogram.volume)  # used with the other contrast
            if {voxels_digest(tomogram), voxels_digest(inverted)} & set(seen):
                raise PickError(f"{project}: {how} test run {run}; make it without")
    where = f", though {request.project} has none at {', '.join(scales)} to compare" if scales else ""
    return f"no test tomogram is among the {len(seen)} that {how}{where}"
