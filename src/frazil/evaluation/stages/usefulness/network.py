"""The network of the classifier, and the card that describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, ValidationError
from torch import Tensor, nn

from frazil.core.errors import BundleError
from frazil.core.files import read_json
from frazil.core.seeds import torch_generator
from frazil.core.settings import Settings
from frazil.core.version import __version__
from frazil.volume.turns import Turn

CARD_FILE = "classifier.json"
SCHEMA_VERSION = 1

STEPS = 400
BATCH_SIZE = 32
SHIFT_VOXEL = 2
"""Training windows are moved by up to so many voxels along each axis, as centres are off by about as much."""

CHANNELS = (16, 32, 64)
LEAST_EDGE = 8
"""Three convolutions of stride 2."""

_WINDOW = 32
_BINNED = 40
_CENTER_WIDTH = 2 / 3
"""Standard deviation in voxels of the last level, 5 or 6 of the first."""


class ClassifierCard(Settings):
    """What a saved classifier says of itself.

    Parameters
    ----------
    classes : in the order of the probabilities.
    box_size_voxel : edge of the volumes it takes.
    window_voxel : edge of their central cube that it looks at.
    binning : edge of the cubes of voxels that are averaged first.
    channels : of the three levels; the last is the number of features.
    seed, steps, batch_size, shift_voxel, turns : of the training.
    counts : training volumes by class.
    voxel_size_angstrom : None where it was not said.
    weights_digest : ``sha256:...`` of the weights.
    """

    schema_version: int = SCHEMA_VERSION
    kind: Literal["frazil classifier"] = "frazil classifier"
    frazil_version: str = __version__
    torch_version: str = Field(default_factory=lambda: str(torch.__version__))
    axis_order: Literal["zyx"] = "zyx"
    normalisation: Literal["z-score of each volume"] = "z-score of each volume"
    classes: tuple[str, ...] = Field(min_length=1)
    box_size_voxel: int = Field(ge=LEAST_EDGE)
    window_voxel: int = Field(ge=LEAST_EDGE)
    binning: int = Field(ge=1)
    channels: tuple[int, int, int] = CHANNELS
    seed: int
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    shift_voxel: int = Field(ge=0)
    turns: tuple[Turn, ...]
    counts: dict[str, int]
    voxel_size_angstrom: float | None = Field(None, gt=0)
    weights_digest: str | None = None


def window_edge(box_size_voxel: int) -> int:
    """Return the edge of the central cube that a classifier looks at.

    Half of the box, since boxes are cut about twice as wide as particles and the rest shows other particles; at least 32 voxels
    where the box has them and room for shifts.
    """
    wanted = min(max(_WINDOW, box_size_voxel // 2), box_size_voxel - 2 * SHIFT_VOXEL)
    return max(wanted, min(box_size_voxel, LEAST_EDGE))


def binning(window_voxel: int) -> int:
    """Return the edge of the cubes of voxels that are averaged, so that large windows do not take hours."""
    return -(-window_voxel // _BINNED)


class _Pool(nn.Module):
    """Means of every channel: over the window, and with a Gaussian around its centre, where the particle is and not its neighbours."""

    def __init__(self, center: float) -> None:
        super().__init__()
        self._center = center

    def forward(self, values: Float[Tensor, "b c z y x"]) -> Float[Tensor, "b d"]:
        distance = (torch.arange(values.shape[-1]) - self._center) / _CENTER_WIDTH
        weights = torch.exp(-0.5 * distance**2)
        weights = weights / weights.sum()
        near = torch.einsum("bczyx,z,y,x->bc", values, weights, weights, weights)
        return torch.cat([values.mean(dim=(2, 3, 4)), near], dim=1)


def build_network(card: ClassifierCard) -> nn.Sequential:
    """Return [features, decision]: three levels, each begun with a stride of 2, pooled and mixed."""
    first, second, third = card.channels
    features = nn.Sequential(
        nn.AvgPool3d(card.binning),
        *_convolution(1, first, stride=2),
        *_convolution(first, second, stride=2),
        *_convolution(second, second),
        *_convolution(second, third, stride=2),
        *_convolution(third, third),
        # a convolution of stride 2, padded by 1, has its output i at its input 2 i
        _Pool(card.window_voxel // 2 / card.binning / 8),
        nn.Linear(2 * third, third),
        nn.SiLU(),
    )
    return nn.Sequential(features, nn.Linear(third, len(card.classes)))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.GroupNorm(8, outputs), nn.SiLU()]


def fresh_network(card: ClassifierCard) -> nn.Sequential:
    """Build the network with weights from the card's seed alone, drawn as PyTorch draws them: U(+-1/sqrt(fan_in))."""
    with torch.device("meta"):  # the global generator is left alone
        network = build_network(card)
    network.to_empty(device="cpu")
    generator = torch_generator(card.seed, "classifier weights")
    for layer in network.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.reset_parameters()
        elif isinstance(layer, nn.Conv3d | nn.Linear):
            bound = layer.weight[0].numel() ** -0.5
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return network


def read_card(path: Path) -> ClassifierCard:
    """Read what a saved classifier says of itself.

    Raises
    ------
    BundleError : not there, not of a classifier, damaged, or of a newer schema.
    """
    content = read_json(path, BundleError)
    if content.get("kind") != "frazil classifier":
        raise BundleError(f"{path}: does not describe a frazil classifier; train one")
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{path}: schema {version} was written by a newer frazil ({content.get('frazil_version')}); upgrade frazil"
        )
    try:
        return ClassifierCard.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        fault = error.errors()[0]
        raise BundleError(f"{path}: damaged, {fault['loc']}: {fault['msg']}; train the classifier again") from None
