"""The arms of a proof: what a picker learns from, and how the windows are varied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from frazil.core.errors import SettingsError
from frazil.core.settings import Settings

ANNOTATED = "annotated"
"""The source of the annotated tomograms themselves; others are named after their projects."""


class Arm(Settings):
    """One way to train a picker; all get as many windows.

    Parameters
    ----------
    shares : of the windows, by source.
    augmented : windows are turned and mirrored, and their gray values varied.
    pasted : particles of the annotated tomograms are pasted into free places.
    """

    name: str
    shares: dict[str, float]
    augmented: bool = True
    pasted: bool = False

    @property
    def cheap(self) -> bool:
        """Whether nothing but the annotated tomograms is needed."""
        return set(self.shares) == {ANNOTATED}


def all_arms(projects: Sequence[str], mixtures: Sequence[int]) -> list[Arm]:
    """Return the cheap arms; for each project those that mix it with the annotated tomograms, one with pasting, and that of it alone."""
    return [
        Arm(name="annotated", shares={ANNOTATED: 1}, augmented=False),
        Arm(name="augmented", shares={ANNOTATED: 1}),
        Arm(name="copy-paste", shares={ANNOTATED: 1}, pasted=True),
        *(arm for project in projects for arm in _with(project, mixtures)),
    ]


def _with(project: str, mixtures: Sequence[int]) -> Iterator[Arm]:
    for ratio in mixtures:
        yield Arm(name=f"{project} {ratio}:1", shares={ANNOTATED: 1 / (1 + ratio), project: ratio / (1 + ratio)})
    yield Arm(name=f"{project} and copy-paste", shares={ANNOTATED: 0.5, project: 0.5}, pasted=True)
    yield Arm(name=f"{project} alone", shares={project: 1})


def chosen_arms(every: Sequence[Arm], names: Sequence[str]) -> list[Arm]:
    """Return the arms of these names, in the usual order; no name chooses all."""
    known = [arm.name for arm in every]
    for name in names:
        if name not in known:
            raise SettingsError(f"arm {name}: not known; choose among {', '.join(known)}")
    return [arm for arm in every if not names or arm.name in names]
