"""`frazil train --from`: which bundle a training goes on from, what it takes over from it, and what it may not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frazil.core.errors import SettingsError
from frazil.model.bundle import Bundle, BundleCard, load_bundle
from frazil.training.base import Base

if TYPE_CHECKING:
    from frazil.core.settings import Preset
    from frazil.dataset.store import BoxStore

TRANSFERABLE_VOXEL_SIZE = 0.02
"""Weights may be trained on with voxels that differ by a smaller share: particles look the same to the network."""

_PRECONDITIONING, _AROUND_TRAINED = "model.preconditioning", "inverse-variance"


@dataclass(frozen=True)
class BaseRequest:
    """What the user asks of ``--from``.

    Parameters
    ----------
    folder : a bundle, or a run folder of `frazil train`.
    classes : new class -> class of the base that it begins as; a class that both have begins as itself.
    keep_classes : classes of the base that the store does not have stay in the new model.
    other_voxel_size : the store's voxel size differs from the base's, and the user knows.
    """

    folder: Path
    classes: Mapping[str, str] = field(default_factory=dict)
    keep_classes: bool = False
    other_voxel_size: bool = False


@dataclass(frozen=True)
class TrainingBase:
    """A bundle to go on from, matched with a store.

    Parameters
    ----------
    bundle : trained.
    labels : classes of the new model, in the order of their numbers.
    origins : for each of them the class of the bundle that it begins as; None for one that begins anew.
    """

    bundle: Bundle
    labels: tuple[str, ...]
    origins: tuple[str | None, ...]

    @classmethod
    def match(cls, request: BaseRequest, boxes: BoxStore) -> TrainingBase:
        """Read the bundle and match its classes with those of the store.

        Raises
        ------
        BundleError : no bundle, or damaged.
        SettingsError : another voxel size that was not asked for; classes that the store or the bundle does not have.
        """
        bundle = load_bundle(request.folder)
        card, described = bundle.card, boxes.description
        _check_voxel_size(request, card, described.voxel_size_angstrom)
        _check_classes(request, card, described.labels)
        labels = described.labels
        if request.keep_classes:
            labels = (*card.labels, *(label for label in labels if label not in card.labels))
        wanted = {label: label for label in card.labels} | dict(request.classes)
        return cls(bundle, labels, tuple(wanted.get(label) for label in labels))

    @property
    def weights(self) -> Base:
        """The trained network, for `frazil.training.fit.fit`."""
        card = self.bundle.card
        columns = [None if origin is None else card.labels.index(origin) for origin in self.origins]
        return Base(self.bundle.network, columns)

    def take_over(self, preset: Preset) -> Preset:
        """Return the preset with the network and the noise schedule of the bundle, which its weights were trained for.

        One thing can be put around a trained network: preconditioning by inverse variance, if the preset asks for it.

        Raises
        ------
        SettingsError : asked for around a network that has another preconditioning.
        """
        card = self.bundle.card.preset
        model, asked = card.model, preset.model.preconditioning
        if asked == _AROUND_TRAINED and model.preconditioning != asked:
            if model.preconditioning != "none":
                raise SettingsError(
                    f"--set {_PRECONDITIONING}={asked}: the bundle to begin with has {model.preconditioning}, which its "
                    f"weights were trained for; leave it out, or begin with a bundle that has none"
                )
            model = model.model_copy(update={"preconditioning": asked})
        return preset.model_copy(update={"model": model, "diffusion": card.diffusion})

    @property
    def radius_angstrom(self) -> dict[str, float]:
        """Radii of the classes that are kept though the store does not show them."""
        return {label: radius for label, radius in self.bundle.card.radius_angstrom.items() if label in self.labels}

    def described(self) -> dict[str, Any]:
        """Return what names this start among others: it makes two runs the same or not."""
        return {
            "digest": self.bundle.digest,
            "classes": dict(zip(self.labels, self.origins, strict=True)),
        }

    def __str__(self) -> str:
        fresh = [label for label, origin in zip(self.labels, self.origins, strict=True) if origin is None]
        other = [
            f"{label} begins as {origin}"
            for label, origin in zip(self.labels, self.origins, strict=True)
            if origin not in (None, label)
        ]
        news = [*other, *([f"new: {', '.join(fresh)}"] if fresh else [])]
        return f"begins with the weights of {self.bundle.card.preset.name} {self.bundle.digest[7:19]}" + "".join(
            f"; {text}" for text in news
        )


def base_request(
    folder: Path | None, *, class_from: Sequence[str] = (), keep_classes: bool = False, other_voxel_size: bool = False
) -> BaseRequest | None:
    """Return what the options of the command line ask for; None where they ask for no base.

    Parameters
    ----------
    class_from : ``NEW=OLD``, each.

    Raises
    ------
    SettingsError : an option that needs ``--from`` stands without it; not of the form NEW=OLD.
    """
    if folder is None:
        given = {"--class-from": class_from, "--keep-classes": keep_classes, "--other-voxel-size": other_voxel_size}
        for option, value in given.items():
            if value:
                raise SettingsError(f"{option}: says something of a bundle to begin with; pass it with --from BUNDLE")
        return None
    classes = {}
    for text in class_from:
        new, equals, old = (part.strip() for part in text.partition("="))
        if not (new and equals and old):
            raise SettingsError(
                f"--class-from {text}: not of the form NEW=OLD, e.g. --class-from ferritin=apo-ferritin"
            )
        classes[new] = old
    return BaseRequest(folder, classes, keep_classes, other_voxel_size)


def refuse_other_network(settings: Mapping[str, Any]) -> None:
    """Refuse settings of the network that a base decides.

    Parameters
    ----------
    settings : dotted key -> value, as the user gave them.

    Raises
    ------
    SettingsError : one of them belongs to the network or its noise schedule.
    """
    for key, value in settings.items():
        if (key, value) == (_PRECONDITIONING, _AROUND_TRAINED):
            continue
        if key.partition(".")[0] in ("model", "diffusion"):
            raise SettingsError(
                f"--set {key}={value}: with --from the network is that of the bundle; leave it out, or train without --from"
            )


def _check_voxel_size(request: BaseRequest, card: BundleCard, voxel_size_angstrom: float) -> None:
    before = card.voxel_size_angstrom
    if before is None or request.other_voxel_size:
        return
    if abs(voxel_size_angstrom / before - 1) > TRANSFERABLE_VOXEL_SIZE:
        raise SettingsError(
            f"{request.folder}: was trained at {before:.3f} A a voxel, the store has {voxel_size_angstrom:.3f}; "
            f"curate with --resample-to {before:.3f}, or pass --other-voxel-size if particles of another size in voxels are meant"
        )


def _check_classes(request: BaseRequest, card: BundleCard, labels: tuple[str, ...]) -> None:
    for new, old in request.classes.items():
        if old not in card.labels:
            raise SettingsError(
                f"--class-from {new}={old}: {request.folder} has no class {old}; it has {', '.join(card.labels)}"
            )
        if new not in labels:
            raise SettingsError(f"--class-from {new}={old}: the store has no class {new}; it has {', '.join(labels)}")
        if request.keep_classes and new in card.labels:
            raise SettingsError(
                f"--class-from {new}={old}: --keep-classes keeps {new} as it is; leave one of the two out, or rename the class"
            )
