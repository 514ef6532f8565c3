"""The stages of `frazil evaluate`, in their order: what each is given."""

from __future__ import annotations

from collections.abc import Callable

from frazil.evaluation.stages.diversity import diversity_section
from frazil.evaluation.stages.features import features_section
from frazil.evaluation.stages.memorisation import memorisation_section
from frazil.evaluation.stages.physics import physics_section
from frazil.evaluation.stages.stage import Material, Room
from frazil.evaluation.stages.usefulness.stage import usefulness_section
from frazil.evaluation.volumes import Section

Tell = Callable[[float], None]


def _physics(material: Material, tell: Tell) -> Section:
    return physics_section(material.sets, tilt_range_degrees=material.tilt_range_degrees, on_step=tell)


def _memorisation(material: Material, tell: Tell) -> Section:
    return memorisation_section(material.sets, on_step=tell)


def _diversity(material: Material, tell: Tell) -> Section:
    return diversity_section(material.sets, material.embeddings, on_step=tell)


def _features(material: Material, tell: Tell) -> Section:
    return features_section(material.sets, material.embeddings, on_step=tell)


def _usefulness(material: Material, tell: Tell) -> Section:
    tilts = material.tilt_range_degrees
    return usefulness_section(material.sets, tilt_range_degrees=tilts, quick=material.quick, on_step=tell)


ROOMS: dict[str, Room] = {
    "physics": Room(_physics),
    "memorisation": Room(_memorisation),
    "diversity": Room(_diversity, learned=True),
    "features": Room(_features, learned=True),
    "usefulness": Room(_usefulness, has_quick=True),
}
