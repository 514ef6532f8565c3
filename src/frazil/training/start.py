"""The weights that a training starts from: fresh ones, or those of a bundle with its classes matched to the store's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from frazil.core.errors import SettingsError
from frazil.model.bundle import Bundle, load_bundle
from frazil.model.unet import ConditionalUNet
from frazil.model.wavelet import FrontEnd

if TYPE_CHECKING:
    from frazil.core.settings import Preset
    from frazil.dataset.examples import Examples
    from frazil.training.data import TrainingData

TRANSFERABLE_VOXEL_SIZE = 0.02
"""Weights may be trained on with voxels that differ by a smaller share: particles look the same to the network."""

_PRECONDITIONING, _AROUND_TRAINED = "model.preconditioning", "inverse-variance"
_BY_CLASS = ("embed.label.weight", "layout.conv1.weight")
"""The weights with a column for each class; the latter has more of them, first those of the label maps."""

_TEMPLATES = "layout.templates"

_BOXES = 256
"""Enough to measure bands: even one box gives their deviations to a few per cent."""

_FAINTEST = 1e-3
"""A band without any signal must not become a scale of zero."""


@dataclass(frozen=True)
class Start:
    """A bundle to start from, matched with a store.

    `labels` are the classes of the new model. `origins` has for each of them the class of the bundle that it starts as; None starts
    it from fresh weights.
    """

    bundle: Bundle
    labels: tuple[str, ...]
    origins: tuple[str | None, ...]
    same_voxels: bool = True

    @classmethod
    def match(
        cls,
        folder: Path,
        data: TrainingData,
        *,
        class_from: Mapping[str, str],
        keep_classes: bool = False,
        other_voxel_size: bool = False,
    ) -> Start:
        """Read a bundle and match its classes with those of a store; for the options see `frazil.training.run.train`."""
        bundle = load_bundle(folder)
        card, described = bundle.card, data.description
        before, now = card.voxel_size_angstrom, described.voxel_size_angstrom
        same_voxels = before is None or abs(now / before - 1) <= TRANSFERABLE_VOXEL_SIZE
        if before is not None and not (same_voxels or other_voxel_size):
            raise SettingsError(
                f"{folder}: was trained on voxels of {before:.3f} A, the store has {now:.3f}; curate resampled to "
                f"{before:.3f} A, or pass --other-voxel-size (in Python: other_voxel_size=True) if the particles may have another size"
            )
        labels = described.labels
        if keep_classes:
            labels = (*card.labels, *(label for label in labels if label not in card.labels))
        for new, old in class_from.items():
            pair = f"class from {new}={old}"
            if old not in card.labels:
                raise SettingsError(f"{pair}: {folder} has no class {old}; it has {', '.join(card.labels)}")
            if new not in described.labels:
                raise SettingsError(f"{pair}: the store has no class {new}; it has {', '.join(described.labels)}")
            if keep_classes and new in card.labels:
                raise SettingsError(f"{pair}: keeping classes keeps {new} as it is; leave one of the two out")
        wanted = {label: label for label in card.labels} | dict(class_from)
        return cls(bundle, labels, tuple(wanted.get(label) for label in labels), same_voxels)

    def take_over(self, preset: Preset) -> Preset:
        """Return the preset with the network and the noise schedule of the bundle, which its weights were trained for.

        Two things can be added to a trained network, if the preset asks for them: preconditioning by inverse variance, and the branch
        that takes layouts.
        """
        card = self.bundle.card.preset
        model, asked = card.model, preset.model.preconditioning
        if asked == _AROUND_TRAINED and model.preconditioning != asked:
            if model.preconditioning != "none":
                raise SettingsError(
                    f"{_PRECONDITIONING}={asked}: the bundle to start from has {model.preconditioning}, which its "
                    f"weights were trained for; leave it out, or start from a bundle that has none"
                )
            model = model.model_copy(update={"preconditioning": asked})
        if preset.model.layout_channels and not model.layout_channels:
            model = model.model_copy(update={"layout_channels": preset.model.layout_channels})
        return preset.model_copy(update={"model": model, "diffusion": card.diffusion})

    def described(self) -> dict[str, Any]:
        """Return what makes two starts the same or not."""
        return {"digest": self.bundle.digest, "classes": dict(zip(self.labels, self.origins, strict=True))}

    def put_into(self, network: ConditionalUNet) -> None:
        """Overwrite fresh weights with the bundle's; those of new classes and of a new branch stay fresh.

        What is told of a new label map starts at zero: the network does at first what it did before.
        """
        trained, fresh = self.bundle.network.state_dict(), network.state_dict()
        known = {name: tensor for name, tensor in trained.items() if name in fresh and name != _TEMPLATES}
        for name in known.keys() & set(_BY_CLASS):
            known[name] = self._by_class(trained[name], fresh[name], network.settings.layout_maps)
        if _TEMPLATES in trained and self.same_voxels:
            known[_TEMPLATES] = self._templates(trained[_TEMPLATES], fresh[_TEMPLATES])
        network.load_state_dict(fresh | known)

    def _by_class(self, trained: Tensor, fresh: Tensor, maps: Sequence[str]) -> Tensor:
        """Return a weight with a column for each class, and perhaps some after them: for each label map, then the same in all networks."""
        labels, before, columns = self.bundle.card.labels, self.bundle.card.maps, fresh.clone()
        for number, origin in enumerate(self.origins):
            if origin is not None:
                columns[:, number] = trained[:, labels.index(origin)]
        columns[:, len(self.labels) :] = 0
        for number, name in enumerate(maps, len(self.labels)):
            if name in before and number < columns.shape[1]:
                columns[:, number] = trained[:, len(labels) + before.index(name)]
        columns[:, len(self.labels) + len(maps) :] = trained[:, len(labels) + len(before) :]
        return columns

    def _templates(self, trained: Tensor, fresh: Tensor) -> Tensor:
        """Return the store's templates, and the bundle's where the store has none."""
        filled, labels = fresh.clone(), self.bundle.card.labels
        margin = (fresh.shape[-1] - trained.shape[-1]) // 2  # both are odd
        for number, origin in enumerate(self.origins):
            if origin is not None and not fresh[number].any():
                filled[number] = F.pad(trained[labels.index(origin)], (margin,) * 6)
        return filled

    def __str__(self) -> str:
        pairs = list(zip(self.labels, self.origins, strict=True))
        news = [f"{label} starts as {origin}" for label, origin in pairs if origin not in (None, label)]
        if fresh := [label for label, origin in pairs if origin is None]:
            news.append(f"new: {', '.join(fresh)}")
        card = self.bundle.card
        return "; ".join([f"starts from the weights of {card.preset.name} {self.bundle.digest[7:19]}", *news])


def refuse_other_network(settings: Mapping[str, Any]) -> None:
    """Refuse settings (dotted key -> value) of the network, which the bundle to start from decides."""
    for key, value in settings.items():
        network = key.partition(".")[0] in ("model", "diffusion")
        if network and (key, value) != (_PRECONDITIONING, _AROUND_TRAINED):
            raise SettingsError(
                f"{key}={value}: the network is that of the bundle to start from; leave it out, or train without --from (in Python: start)"
            )


@torch.no_grad()
def measure_bands(front_end: FrontEnd, training: Examples) -> None:
    """Set the front end's `std` to the root mean square of each band, over boxes spread evenly over the training set.

    The same boxes always give the same numbers, also on other devices and after a restart.
    """
    if front_end.name == "none":
        return
    rows = range(0, len(training), max(1, len(training) // _BOXES))
    squares = [
        front_end.split(training.fixed(row).volume[None].double()).square().mean(dim=(0, 2, 3, 4)) for row in rows
    ]
    front_end.std.copy_(torch.stack(squares).mean(dim=0).sqrt().clamp(min=_FAINTEST))
