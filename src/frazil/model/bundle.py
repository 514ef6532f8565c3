"""A trained model as a folder: weights in `model.safetensors`, everything else that is known in `bundle.json`, the card.

Nothing in it is pickled, and a reader refuses what it does not understand.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

import torch
from pydantic import ConfigDict, Field, PositiveFloat, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from frazil.core.errors import BundleError, OutputError
from frazil.core.files import atomic_path, read_json, text_digest
from frazil.core.records import Moments, TiltRange
from frazil.core.settings import Normalisation, Preset, Settings
from frazil.core.version import __version__
from frazil.model.unet import ConditionalUNet, empty_network

CARD_FILE = "bundle.json"
WEIGHTS_FILE = "model.safetensors"
RUN_BUNDLE = "bundle"
"""Where `frazil train` puts the bundle in its run folder."""

PRETRAINED = "pretrained"
"""Wherever a bundle is named, this names the one that frazil brings along, unless a folder of that name is there."""

_PRETRAINED_FOLDER = ("pretrained", "simulated-czii")
_IN_FULL = "front_end."
"""Tensors that are no weights keep all their digits in a halved bundle: there are eight numbers of them."""

SCHEMA_VERSION = 5
"""Raised whenever the settings grow, because a reader calls a setting that it does not know damaged. 2 added other networks than the
paper's, 3 the variation of boxes and a start from another bundle, 4 preconditioning by inverse variance, 5 the groups of the first block.
All older ones load: what they do not say has the value that was then the only one."""


class BundleCard(Settings):
    """What a bundle says of its weights.

    Parameters
    ----------
    preset : all settings that the network was built and trained with.
    labels : class names, in the order of the class indices.
    box_size_voxel : edge of the training boxes.
    voxel_size_angstrom : of the training boxes; None where it is not known (imported weights), sampling must then be told.
    tilt_range_degrees : lowest and highest tilt of the training tomograms, None where it is not known.
    normalisation : which voxels gave the statistics of the training boxes' z-score; the same as the preset's.
    moments : typical mean and standard deviation of a training box in the tomograms' grey values; None if not known.
    training_data_digest : digest of the box store, None where it is not known.
    radius_angstrom : of the particles, by label; holds only the labels whose radius is known.
    losses : what training reached, by name (``train_loss``, ``validation_loss``, ``epochs``, ...).
    base_digest : of the bundle that the training began with; None where it began with fresh weights.
    provenance : where the weights come from, for people.
    frazil_version, torch_version : of the writer.
    weights_digest : ``sha256:...`` of `model.safetensors`; `save_bundle` fills it in.
    """

    model_config = ConfigDict(allow_inf_nan=False)  # JSON has neither

    schema_version: int = SCHEMA_VERSION
    kind: Literal["frazil bundle"] = "frazil bundle"
    frazil_version: str = __version__
    torch_version: str = Field(default_factory=lambda: str(torch.__version__))
    preset: Preset
    labels: tuple[str, ...] = Field(min_length=1)
    box_size_voxel: int = Field(gt=0, multiple_of=8)
    voxel_size_angstrom: float | None = Field(None, gt=0)
    axis_order: Literal["zyx"] = "zyx"
    position_convention: Literal["centre divided by tomogram extent, 0 to 1, zyx"] = (
        "centre divided by tomogram extent, 0 to 1, zyx"
    )
    tilt_range_degrees: TiltRange | None = None
    normalisation: Normalisation
    moments: Moments | None = None
    training_data_digest: str | None = None
    radius_angstrom: dict[str, PositiveFloat] = Field(default_factory=dict)
    losses: dict[str, float] = Field(default_factory=dict)
    base_digest: str | None = None
    provenance: str = ""
    weights_digest: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> BundleCard:
        if self.normalisation != self.preset.training.normalisation:
            raise ValueError(
                f"normalisation {self.normalisation} differs from the preset's {self.preset.training.normalisation}"
            )
        if "auto" in (self.preset.training.precision, self.preset.training.memory_format):
            raise ValueError("precision or memory format is auto, but a bundle has to say what it was trained in")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"a class name occurs twice in {', '.join(self.labels)}")
        return self


@dataclass(frozen=True)
class Bundle:
    """A trained network with its card.

    Parameters
    ----------
    network : in evaluation mode, x0_hat(x_t, t, condition).
    card : everything else.
    digest : of the card, and through it of the weights: names exactly this model.
    """

    network: ConditionalUNet
    card: BundleCard
    digest: str


def save_bundle(folder: Path, network: torch.nn.Module, card: BundleCard, *, halved: bool = False) -> Bundle:
    """Write a bundle, whole or not at all; a bundle that is already at `folder` is replaced, anything else is not.

    Dotfiles, which file managers leave anywhere, neither hinder nor vanish.

    Parameters
    ----------
    network : weights that fit `card.preset.model` and `card.labels`.
    halved : round the weights to bf16, which halves the file; readers compute with what was written.

    Raises
    ------
    OutputError : `folder` cannot be written, or holds something other than a bundle.
    BundleError : the weights do not fit the card, or are not finite.
    """
    check_replaceable(folder)
    tensors = {
        name: tensor.detach()
        .cpu()
        .to(torch.bfloat16 if halved and not name.startswith(_IN_FULL) else tensor.dtype)
        .contiguous()
        for name, tensor in network.state_dict().items()
    }
    restored = _network_of(folder, card, tensors)
    weights = save_tensors(tensors, metadata={"format": "pt"})
    card = card.model_copy(update={"weights_digest": _digest(weights)})
    text = card.model_dump_json(indent=2) + "\n"
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        (temporary / WEIGHTS_FILE).write_bytes(weights)
        (temporary / CARD_FILE).write_text(text, encoding="utf-8")
        _copy_dotfiles(folder, temporary)
    return Bundle(restored, card, text_digest(text))


def check_replaceable(folder: Path) -> None:
    """Refuse to write a bundle over anything but a bundle.

    Raises
    ------
    OutputError : `folder` is a file, or holds files that are no part of a bundle; dotfiles do not count.
    """
    if folder.is_file():
        raise OutputError(f"{folder}: a file of that name stands in the way; choose another folder")
    if folder.is_dir():
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        strangers = sorted(names - {CARD_FILE, WEIGHTS_FILE})
        if strangers:
            raise OutputError(f"{folder}: holds {strangers[0]}, which is no part of a bundle; choose another folder")


def bundle_folder(folder: Path) -> Path:
    """Return the bundle that is meant: `folder` itself, the bundle in it if it is the run folder of `frazil train`, or the one that
    frazil brings along if it is called ``pretrained``.
    """
    if str(folder) == PRETRAINED and not folder.exists():
        return Path(str(files("frazil").joinpath(*_PRETRAINED_FOLDER)))
    inside = folder / RUN_BUNDLE
    return inside if (inside / CARD_FILE).is_file() and not (folder / CARD_FILE).is_file() else folder


def read_card(folder: Path) -> BundleCard:
    """Read what a bundle says of itself, without its weights.

    Raises
    ------
    BundleError : no bundle, damaged, or of a newer schema.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise BundleError(
            f"{folder}: no bundle, it has no {CARD_FILE}; name a folder that frazil train or frazil import-weights wrote"
        )
    content = read_json(path, BundleError)
    if not isinstance(content, dict) or content.get("kind") != "frazil bundle":
        raise BundleError(f"{path}: this is not the card of a frazil bundle; name a folder that frazil train wrote")
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{path}: schema version {version} was written by a newer frazil ({content.get('frazil_version')}); "
            f"this one knows {SCHEMA_VERSION}: upgrade frazil"
        )
    if not (isinstance(version, int) and version >= 1):
        raise BundleError(f"{path}: schema version {version!r} is not known; this frazil knows 1 to {SCHEMA_VERSION}")
    try:
        return BundleCard.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "card"
        raise BundleError(f"{path}: damaged, {where}: {fault['msg']}; copy the bundle again from its origin") from None


def load_bundle(folder: str | Path, device: torch.device | str = "cpu") -> Bundle:
    """Read a bundle and check it against its own digest and settings.

    Parameters
    ----------
    folder : the bundle, a run folder of `frazil train`, which holds one, or ``pretrained``.

    Raises
    ------
    BundleError : no bundle, damaged, incomplete, or of a newer schema.
    """
    folder = bundle_folder(Path(folder))
    card = read_card(folder)
    path = folder / WEIGHTS_FILE
    try:
        weights = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file; copy the bundle again from its origin") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); make it a readable file") from None
    if _digest(weights) != card.weights_digest:
        raise BundleError(
            f"{path}: damaged, the {len(weights)} bytes do not have the digest that {CARD_FILE} names; "
            "copy the bundle again from its origin"
        )
    try:
        tensors = load_tensors(weights)
    except SafetensorError as error:
        raise BundleError(f"{path}: damaged ({error}); copy the bundle again from its origin") from None
    network = _network_of(folder, card, tensors).to(device)
    digest = text_digest((folder / CARD_FILE).read_text(encoding="utf-8"))
    return Bundle(network, card, digest)


def find_fault(shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]) -> str | None:
    """Say in a few words why `tensors` cannot be weights of these names and shapes; None if they can."""
    if missing := sorted(shapes.keys() - tensors.keys()):
        return f"{len(missing)} tensors are missing, first {missing[0]}"
    if unexpected := sorted(tensors.keys() - shapes.keys()):
        return f"{len(unexpected)} tensors are not known, first {unexpected[0]}"
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            return f"{name} has shape {list(tensors[name].shape)} where {list(shape)} is expected"
        if not tensors[name].isfinite().all():
            return f"{name} holds values that are not finite"
    return None


def _network_of(folder: Path, card: BundleCard, tensors: dict[str, Tensor]) -> ConditionalUNet:
    """Build the card's network around `tensors`, in evaluation mode."""
    network = empty_network(card.preset.model, len(card.labels), card.preset.diffusion)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if fault := find_fault(shapes, tensors):
        raise BundleError(f"{folder}: the weights do not fit the card: {fault}; use the weights that belong to it")
    network.load_state_dict({name: tensor.to(torch.float32) for name, tensor in tensors.items()}, assign=True)
    return network.eval()


def _copy_dotfiles(source: Path, target: Path) -> None:
    for path in source.glob(".*"):
        with suppress(FileNotFoundError):  # whoever wrote it may have taken it away
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, target / path.name, symlinks=True)
            else:
                shutil.copy2(path, target / path.name, follow_symlinks=False)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
