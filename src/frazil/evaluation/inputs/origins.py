"""Where boxes come from: a microscope, or frazil itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frazil.sampling.folder import USER as SAMPLED_USER
from frazil.simulation.project import USER as SIMULATED_USER

if TYPE_CHECKING:
    from frazil.dataset.store import BoxStore


def holds_simulation(store: BoxStore) -> bool:
    """Tell whether a store holds boxes that frazil simulated or generated: its picks name who placed them."""
    return bool(store.particles["user"].isin([SIMULATED_USER, SAMPLED_USER]).any())
