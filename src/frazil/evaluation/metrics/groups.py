"""What is judged together: all classes, or one; in equal numbers."""

from __future__ import annotations

import numpy as np

from frazil.core.seeds import numpy_generator
from frazil.evaluation.volumes import Sets


def class_groups(sets: Sets) -> tuple[str | None, ...]:
    """Return what is judged: everything (None), and each class of the generated volumes if there are several."""
    classes = sets.generated.classes
    return (None, *classes) if len(classes) > 1 else (None,)


def equal_rows(one: np.ndarray, other: np.ndarray, label: str | None, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of two sets that hold each class in equal numbers: as many as the smaller side has, drawn at random.

    Parameters
    ----------
    one, other : labels of the sets.
    label : the only class to take; None takes all.
    """
    chosen: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for name in sorted({str(value) for value in one} & {str(value) for value in other}):
        if label is not None and name != label:
            continue
        rows = [np.flatnonzero(labels == name) for labels in (one, other)]
        count = min(map(len, rows))
        for side, (own, kept) in enumerate(zip(rows, chosen, strict=True)):
            # of one class, the first of one order: a smaller draw is part of a larger one
            kept.append(np.sort(numpy_generator(seed, "equal numbers", name, side).permutation(own)[:count]))
    one_rows, other_rows = (np.concatenate([*kept, np.array([], dtype=np.int64)]) for kept in chosen)
    return one_rows, other_rows
