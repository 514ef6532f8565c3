"""The boxes of a store as a training sees them: the whole box or its middle, as it is or varied differently in every epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from frazil.core.errors import SettingsError
from frazil.core.records import TiltRange
from frazil.core.settings import TrainingSettings
from frazil.dataset.boxes import Subtomogram
from frazil.volume.crop import crop_center
from frazil.volume.turns import Turn, draw_turns, mirrored_position, turn_half, wedge_turns


def margin_voxel(settings: TrainingSettings) -> int:
    """Return how many voxels shifts and turns need around what is trained on, on every side."""
    return settings.shift_voxel + (1 if settings.half_turns else 0)


def largest_edge(settings: TrainingSettings, *, box_size_voxel: int, edge_multiple: int) -> int:
    """Return the largest multiple of `edge_multiple` that boxes of `box_size_voxel` have room for; 0 if there is none."""
    return max(0, box_size_voxel - 2 * margin_voxel(settings)) // edge_multiple * edge_multiple


@dataclass(frozen=True)
class Variation:
    """How boxes are cut and varied: the cube of `edge_voxel` around voxel D/2 is shown, None shows the whole box.

    The cube moves along each axis by up to `shift_voxel`, and one of `turns` is drawn for each box. The first planes of a turned
    box are not those of a turned tomogram (`frazil.volume.turns`), so that the cube has to leave them out.
    """

    edge_voxel: int | None = None
    shift_voxel: int = 0
    turns: tuple[Turn, ...] = ("identity",)

    @classmethod
    def of(
        cls,
        settings: TrainingSettings,
        *,
        box_size_voxel: int,
        tilt_range_degrees: TiltRange | None = None,
        edge_multiple: int = 1,
    ) -> Variation:
        """Read the settings for boxes of a store; where the tilt range is not known, they are turned only about y.

        Refuses a cube that, with its shifts, is larger than the boxes. It recommends a multiple of `edge_multiple`, because
        the network takes no others.
        """
        edge, shift = settings.box_size_voxel, settings.shift_voxel
        turns = wedge_turns(tilt_range_degrees) if settings.half_turns else ("identity",)
        margin = margin_voxel(settings)
        if (edge or box_size_voxel) + 2 * margin > box_size_voxel:
            asked = " and ".join([f"shifts of {shift}"] * (shift > 0) + ["half turns"] * settings.half_turns)
            why = f"{asked} need {margin} voxels around what is trained on" if margin else "is larger than they are"
            needed = math.ceil(((edge or box_size_voxel) + 2 * margin) / edge_multiple) * edge_multiple
            smaller = largest_edge(settings, box_size_voxel=box_size_voxel, edge_multiple=edge_multiple)
            raise SettingsError(
                f"training.box_size_voxel {edge or box_size_voxel} in boxes of {box_size_voxel}: {why}; "
                f"curate boxes of {needed}{f', or train on boxes of {smaller}' if smaller else ''}"
            )
        return cls(edge, shift, turns)

    @property
    def varies(self) -> bool:
        """Whether a box looks different from epoch to epoch."""
        return self.shift_voxel > 0 or len(self.turns) > 1

    def middle(self, item: Subtomogram) -> Subtomogram:
        """Return the box as it is, cut to the cube in its middle."""
        return self._cut(item, (0, 0, 0))

    def vary(self, item: Subtomogram, random: np.random.Generator) -> Subtomogram:
        """Return the box moved and turned at random, its position moved and turned likewise: as it would have been cut from the
        tomogram, turned as a whole.
        """
        shift = tuple(int(step) for step in random.integers(-self.shift_voxel, self.shift_voxel, size=3, endpoint=True))
        (turn,) = draw_turns(1, self.turns, random)
        turned = mirrored_position(item.position.numpy(), turn, item.last_position.numpy())
        position = torch.from_numpy(np.float32(turned))
        # cut last: voxel 0 of a turned box has no partner, and would show as a seam
        return self._cut(item._replace(volume=turn_half(item.volume, turn), position=position), shift)

    def _cut(self, item: Subtomogram, shift: Sequence[int]) -> Subtomogram:
        if self.edge_voxel is None:
            return item
        volume = crop_center(item.volume.numpy(), self.edge_voxel, shift)
        position = item.position + torch.tensor(shift, dtype=torch.float32) / item.extent_voxel
        return item._replace(volume=torch.from_numpy(np.ascontiguousarray(volume)), position=position)
