"""A trained model as a folder: weights in `model.safetensors`, everything else in `bundle.json`, the card. Nothing is pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from frazil.core.documents import Document
from frazil.core.errors import BundleError, OutputError
from frazil.core.files import atomic_path, bytes_digest, output_errors, text_digest
from frazil.core.ledger import KEPT
from frazil.core.log import LOG
from frazil.core.reading import check_plain_file
from frazil.core.records import Moments
from frazil.core.settings import LARGEST_BOX_VOXEL, LARGEST_GRAY, Normalisation, Preset, Radius, TiltDegrees, VoxelSize
from frazil.model.unet import ConditionalUNet, empty_network
from frazil.volume.arrangement import LayoutStatistics
from frazil.volume.contrast import Contrast

CARD_FILE = "bundle.json"
WEIGHTS_FILE = "model.safetensors"
RUN_BUNDLE = "bundle"
"""Where `frazil train` puts the bundle in its run folder."""

PRETRAINED, PRETRAINED_TEACHER, PRETRAINED_BOXES = "pretrained", "pretrained-teacher", "pretrained-boxes"
"""Wherever a bundle is named, these are the bundled models, unless a folder of that name exists: the one that is told a layout and makes
whole tomograms in few evaluations; its teacher, for a training on whole tomograms to start from; and the one that is told a class and a
position, for a training on boxes to start from."""

_BUNDLED = {
    PRETRAINED: "simulated-czii-layouts-quick",
    PRETRAINED_TEACHER: "simulated-czii-layouts",
    PRETRAINED_BOXES: "simulated-czii",
}
_IN_FULL = "front_end."
"""Tensors that keep all their digits in a bundle of half precision: they are no weights, and hold eight numbers."""


class BundleCard(Document):
    """What a bundle says about its weights.

    The schema version is raised whenever the settings grow, because a reader calls a setting that it does not know damaged: 2 added
    networks other than the paper's, 3 the variation of boxes and a start from another bundle, 4 preconditioning by inverse variance,
    5 the groups of the first block, 6 layouts, 7 another scale of what layouts are painted with, 8 clustering and label maps,
    9 contrasts, 10 their gray values, 11 guidance by the height. All older ones load, but for the layouts of 6: what they do not say
    has the value that was then the only one.

    Parameters
    ----------
    preset : all settings that the network was built and trained with.
    labels : class names, in the order of the class indices.
    box_size_voxel : edge of the training boxes; for a network with layouts, which takes any size, of the boxes that are sampled.
    voxel_size_angstrom : of the training boxes; None if unknown (imported weights): sampling then has to be given it.
    tilt_range_degrees : lowest and highest tilt of the training tomograms; None if unknown.
    normalisation : which voxels gave the statistics of the training boxes' z-score; the same as the preset's.
    moments : typical mean and standard deviation of a training box in the tomograms' gray values; None if unknown.
    training_data_digest : digest of the box store; None if unknown.
    tomograms_seen : digests of the gray values of all whole tomograms that it, or what it started from, was trained or validated on.
    radius_angstrom : of the particles, by label; only the labels whose radius is known.
    layouts : how particles are arranged in the training tomograms, from which layouts can be drawn; None for a network that takes none.
    contrasts : run -> what gives a composed tomogram the contrast of this training tomogram; none where it was not measured.
    losses : what training reached, by name (``train_loss``, ``validation_loss``, ``epochs``, ...).
    base_digest : of the bundle that the training started from; None if it started from fresh weights.
    provenance : where the weights come from, for people.
    torch_version : of the writer.
    weights_digest : ``sha256:...`` of `model.safetensors`; `save_bundle` fills it in.
    """

    written_by: ClassVar[str] = "frazil train or frazil import-weights"
    remedy: ClassVar[str] = "copy the bundle again from its origin"

    schema_version: int = 11
    kind: Literal["frazil bundle"] = "frazil bundle"
    torch_version: str = Field(default_factory=lambda: str(torch.__version__))
    preset: Preset
    labels: tuple[str, ...] = Field(min_length=1)
    box_size_voxel: int = Field(gt=0, le=LARGEST_BOX_VOXEL, multiple_of=8)
    voxel_size_angstrom: VoxelSize | None = None
    axis_order: Literal["zyx"] = "zyx"
    position_convention: Literal["centre divided by tomogram extent, 0 to 1, zyx"] = (
        "centre divided by tomogram extent, 0 to 1, zyx"
    )
    tilt_range_degrees: TiltDegrees | None = None
    normalisation: Normalisation
    moments: Moments | None = None
    training_data_digest: str | None = None
    tomograms_seen: tuple[str, ...] = ()
    radius_angstrom: dict[str, Radius] = Field(default_factory=dict)
    layouts: LayoutStatistics | None = None
    contrasts: dict[str, Contrast] = Field(default_factory=dict)
    losses: dict[str, float] = Field(default_factory=dict)
    base_digest: str | None = None
    provenance: str = ""
    weights_digest: str | None = None

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the label maps that the network is told."""
        return self.preset.model.layout_maps

    @model_validator(mode="after")
    def _consistent(self) -> BundleCard:
        if self.normalisation != self.preset.training.normalisation:
            raise ValueError(
                f"normalisation {self.normalisation} differs from the preset's {self.preset.training.normalisation}"
            )
        if self.preset.training.precision == "auto":
            raise ValueError("precision is auto, but a bundle has to say what it was trained in")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"a class name occurs twice in {', '.join(self.labels)}")
        if max(map(abs, self.moments or (0.0,))) > LARGEST_GRAY:
            raise ValueError(f"moments {self.moments} are of no gray values")
        if self.preset.model.layout_channels and (
            self.voxel_size_angstrom is None or not {*self.labels} <= self.radius_angstrom.keys()
        ):
            raise ValueError("layouts need the voxel size, and a radius of every class")
        if self.preset.model.layout_channels and self.schema_version < 7:
            raise ValueError(f"layouts of schema version {self.schema_version} are painted otherwise; train it anew")
        known = self.labels if self.preset.model.layout_channels else ()
        if self.layouts is not None and not self.layouts.number_per_um3.keys() <= {*known}:
            raise ValueError("layouts of other classes than those of the network, or of a network that takes none")
        return self

    @property
    def heights(self) -> tuple[float, float] | None:
        """Return the heights between which the particles of the training tomograms lie, the smallest one beyond their centers.

        0 is the lowest plane of a tomogram, and 1 the highest; None if they are not known.
        """
        if self.layouts is None:
            return None
        beyond = min(self.radii_voxel) / max(1, self.layouts.shape_voxel[0] - 1)
        return self.layouts.heights[0] - beyond, self.layouts.heights[-1] + beyond

    @property
    def radii_voxel(self) -> list[float]:
        """Return the radius of each class in voxels, for a network that takes layouts."""
        assert self.voxel_size_angstrom is not None  # it was trained on a tomogram store
        return [self.radius_angstrom[label] / self.voxel_size_angstrom for label in self.labels]


@dataclass(frozen=True)
class Bundle:
    """A trained network, in evaluation mode, with its card; the digest is of the card, and through it of the weights."""

    network: ConditionalUNet
    card: BundleCard
    digest: str


def save_bundle(folder: Path, network: torch.nn.Module, card: BundleCard, *, halved: bool = False) -> Bundle:
    """Write a bundle; one that already exists in `folder` is replaced, anything else is not.

    `halved` rounds the weights to bf16, which halves the file; readers compute with what was written.
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
    newest = BundleCard.model_fields["schema_version"].default
    card = card.model_copy(update={"schema_version": newest, "weights_digest": bytes_digest(weights)})
    text = card.model_dump_json(indent=2) + "\n"
    # both are written before either is moved into place, the card last: with it the bundle is whole
    with atomic_path(folder / CARD_FILE) as card_file, atomic_path(folder / WEIGHTS_FILE) as weights_file:
        weights_file.write_bytes(weights)
        card_file.write_text(text, encoding="utf-8")
    return Bundle(restored, card, text_digest(text))


def check_replaceable(folder: Path) -> None:
    """Refuse to write a bundle over anything but a bundle; dotfiles do not count."""
    with output_errors(folder):
        if folder.is_file():
            raise OutputError(f"{folder}: is a file; choose another folder")
        names = {path.name for path in folder.iterdir() if path.name[0] != "."} if folder.is_dir() else set()
    if foreign := sorted(names - {CARD_FILE, WEIGHTS_FILE, LOG, KEPT}):
        raise OutputError(f"{folder}: holds {foreign[0]}, which is not part of a bundle; choose another folder")


def bundle_folder(folder: Path) -> Path:
    """Return the folder of the bundle that `folder` names: itself, the bundle in a run folder, or a bundled one."""
    if str(folder) in _BUNDLED and not folder.exists():
        return Path(str(files("frazil") / "pretrained" / _BUNDLED[str(folder)]))
    inside = folder / RUN_BUNDLE
    return inside if (inside / CARD_FILE).is_file() and not (folder / CARD_FILE).is_file() else folder


def read_card(folder: Path) -> BundleCard:
    """Read what a bundle says about itself, without its weights."""
    path = folder / CARD_FILE
    if not path.is_file():
        raise BundleError(f"{folder}: not a bundle, no {CARD_FILE}; name a folder that {BundleCard.written_by} wrote")
    return BundleCard.read(path, BundleError)


def load_bundle(folder: str | Path, device: torch.device | str = "cpu") -> Bundle:
    """Read a bundle and check it against its own digest and settings.

    Parameters
    ----------
    folder : the bundle, a run folder of `frazil train`, or ``pretrained``.

    Raises
    ------
    BundleError : not a bundle, damaged, incomplete, or of a newer schema.
    """
    folder = bundle_folder(Path(folder))
    card = read_card(folder)
    path = folder / WEIGHTS_FILE
    try:
        check_plain_file(path, BundleError)
        weights = path.read_bytes()
        if bytes_digest(weights) != card.weights_digest:
            raise BundleError(f"{path}: damaged, its digest is not the one in {CARD_FILE}; {card.remedy}")
        tensors = load_tensors(weights)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); {card.remedy}") from None
    except SafetensorError as error:
        raise BundleError(f"{path}: damaged ({error}); {card.remedy}") from None
    network = _network_of(folder, card, tensors).to(device)
    return Bundle(network, card, text_digest((folder / CARD_FILE).read_text(encoding="utf-8")))


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
