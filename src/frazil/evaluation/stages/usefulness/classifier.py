"""A small 3D network that tells classes apart: judge of the right class, measure of usefulness, and learned embedding.

The same volumes, labels, seed and number of threads give the same network, bit by bit, on a CPU. All is float32: bfloat16 would
save a quarter of the time on the newest CPUs and give other numbers there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from frazil.core.errors import BundleError, ShapeError, TrainingError
from frazil.core.files import atomic_path, bytes_digest
from frazil.core.reading import check_plain_file
from frazil.core.seeds import numpy_generator, torch_generator
from frazil.core.settings import Settings
from frazil.evaluation.stages.material import OnStep, ignore
from frazil.evaluation.volumes import VolumeSet
from frazil.volume.crop import crop_center
from frazil.volume.turns import Turn, draw_turns, turn_half

SHIFT_VOXEL = 2
"""Training windows are moved by up to this many voxels along each axis, as centers are off by about as much."""

CHANNELS = (16, 32, 64)
"""Of the three levels; the last is the number of features."""

LEAST_EDGE = 8
"""Three convolutions of stride 2."""

_WINDOW = 32
_BINNED = 40
_CENTER_WIDTH = 2 / 3
"""Standard deviation in voxels of the last level, 5 or 6 of the first."""

STEPS = 400
BATCH_SIZE = 32

_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 0.01
_LABEL_SMOOTHING = 0.1
"""So that the doubts of correct volumes still differ."""


class ClassifierCard(Settings):
    """What a classifier was trained on, and how.

    Parameters
    ----------
    classes : in the order of the probabilities.
    window_voxel : edge of the central cube that it looks at.
    counts : training volumes by class.
    """

    classes: tuple[str, ...]
    box_size_voxel: int
    window_voxel: int
    seed: int
    steps: int
    counts: dict[str, int]


class Classifier:
    """A trained classifier. It takes volumes of the box size that it was trained on."""

    def __init__(self, network: nn.Module, card: ClassifierCard) -> None:
        self._network = network.eval()
        self.card = card

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return self.card.classes

    @property
    def description(self) -> str:
        """What it is, in a line."""
        card = self.card
        return (
            f"learned features: classifier of {len(card.classes)} classes, trained on {sum(card.counts.values())} volumes in "
            f"{card.steps} steps, seed {card.seed}, looks at the central {card.window_voxel}^3 voxels"
        )

    def predict(self, volumes: Float32[np.ndarray, "n z y x"]) -> Float32[np.ndarray, "n k"]:
        """Return the probability of each class."""
        return self._run(volumes, lambda batch: self._network(batch).softmax(dim=1), len(self.classes))

    def features(self, volumes: Float32[np.ndarray, "n z y x"]) -> Float32[np.ndarray, "n d"]:
        """Return what the last layer decides by: `(n, 64)`."""
        return self._run(volumes, lambda batch: self._network[0](batch), CHANNELS[-1])  # type: ignore[index]

    def save(self, path: Path) -> None:
        """Write it as one safetensors file, whole or not at all."""
        tensors = {name: tensor.contiguous() for name, tensor in self._network.state_dict().items()}
        card = self.card.model_dump_json()
        with atomic_path(path) as temporary:
            temporary.write_bytes(save(tensors, metadata={"card": card, "digest": _digest(card, tensors)}))

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Read a classifier; it predicts what it predicted before it was saved, bit by bit."""
        check_plain_file(path, BundleError)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if metadata["digest"] != _digest(metadata["card"], tensors):
                raise BundleError(f"{path}: damaged, its digest does not fit")
            card = ClassifierCard.model_validate_json(metadata["card"])
            network = build_network(card.window_voxel, len(card.classes))
            network.load_state_dict(tensors, assign=True)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as fault:
            raise BundleError(f"{path}: not a readable classifier ({str(fault).splitlines()[0]})") from None
        return cls(network, card)

    def _run(
        self, volumes: Float32[np.ndarray, "n z y x"], values: Callable[[Tensor], Tensor], width: int
    ) -> Float32[np.ndarray, "n d"]:
        edge = self.card.box_size_voxel
        if volumes.shape[1:] != (edge, edge, edge):
            raise ShapeError(
                f"volumes of shape {volumes.shape[1:]} for a classifier of boxes of {edge}^3; give it boxes of that size"
            )
        found = np.empty((len(volumes), width), np.float32)
        with torch.inference_mode():
            for start in range(0, len(volumes), BATCH_SIZE):
                batch = crop_center(volumes[start : start + BATCH_SIZE], self.card.window_voxel)
                found[start : start + BATCH_SIZE] = values(_as_tensor(batch)).numpy()
        return found


def _digest(card: str, tensors: dict[str, Tensor]) -> str:
    return bytes_digest(b"".join([card.encode(), *(tensors[name].numpy().tobytes() for name in sorted(tensors))]))


def train_classifier(
    volumes: VolumeSet,
    classes: tuple[str, ...],
    *,
    seed: int,
    steps: int = STEPS,
    batch_size: int = BATCH_SIZE,
    window_voxel: int | None = None,
    shift_voxel: int = SHIFT_VOXEL,
    turns: tuple[Turn, ...] = ("identity",),
    on_step: OnStep = ignore,
) -> Classifier:
    """Train a classifier for a fixed number of steps; every class is shown equally often, whatever its number.

    Adam with decoupled weight decay and one cycle of the learning rate (Smith & Topin 2019), cross-entropy with smoothed labels.

    Parameters
    ----------
    classes : to tell apart, in the order of its probabilities. One without volumes is never predicted with reason.
    seed : of its weights, and of the order and the places of what it is shown.
    window_voxel : edge of the central cube that it looks at; None is `window_edge`.
    shift_voxel : the cube is moved by up to this much along each axis, as far as the box allows.
    turns : each volume is turned by one of these each time it is shown (`frazil.volume.turns.wedge_turns`).
    """
    edge = volumes.volumes.shape[-1]
    if edge < LEAST_EDGE:
        raise ShapeError(f"boxes of {edge} voxels cannot be classified; use boxes of {LEAST_EDGE} or more")
    window_voxel = window_voxel or window_edge(edge)
    network = fresh_network(window_voxel, len(classes), seed)
    targets = np.array([classes.index(str(label)) for label in volumes.labels])
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=max(steps, 8), pct_start=0.25)
    reach = min(shift_voxel, (edge - window_voxel) // 2)
    batches = _batches(volumes.volumes, targets, window_voxel, reach, turns, batch_size, seed)
    for step, (batch, target) in zip(range(1, steps + 1), batches, strict=False):
        loss = nn.functional.cross_entropy(network(batch), target, label_smoothing=_LABEL_SMOOTHING)
        if not torch.isfinite(loss):
            raise TrainingError(f"loss {loss.item()} of the classifier in step {step}; look for volumes with NaN")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        on_step(step / steps)
    counts = {name: int(np.sum(volumes.labels == name)) for name in classes}
    card = ClassifierCard(
        classes=classes, box_size_voxel=edge, window_voxel=window_voxel, seed=seed, steps=steps, counts=counts
    )
    return Classifier(network, card)


def _batches(
    volumes: Float32[np.ndarray, "n z y x"],
    targets: Int64[np.ndarray, "n"],
    window_voxel: int,
    reach_voxel: int,
    turns: tuple[Turn, ...],
    batch_size: int,
    seed: int,
) -> Iterator[tuple[Float[Tensor, "b 1 z y x"], Int64[Tensor, "b"]]]:
    """Yield batches without end, all classes equally often."""
    random = numpy_generator(seed, "classifier batches")
    rows_of = [np.flatnonzero(targets == target) for target in np.unique(targets)]
    while True:
        places = random.permutation(np.arange(batch_size)) % len(rows_of)
        rows = np.array([random.choice(rows_of[place]) for place in places])
        shifts = random.integers(-reach_voxel, reach_voxel + 1, size=(batch_size, 3))
        windows = [crop_center(volumes[row], window_voxel, shift) for row, shift in zip(rows, shifts, strict=True)]
        chosen = draw_turns(batch_size, turns, random)
        turned = np.stack([turn_half(window, turn) for window, turn in zip(windows, chosen, strict=True)])
        yield _as_tensor(turned), torch.from_numpy(targets[rows])


def _as_tensor(windows: Float32[np.ndarray, "b z y x"]) -> Float[Tensor, "b 1 z y x"]:
    return torch.from_numpy(np.ascontiguousarray(windows, dtype=np.float32))[:, None]


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
    """Means of every channel: over the window, and with a Gaussian around its center, where the particle is."""

    def __init__(self, center: float) -> None:
        super().__init__()
        self._center = center

    def forward(self, values: Float[Tensor, "b c z y x"]) -> Float[Tensor, "b d"]:
        distance = (torch.arange(values.shape[-1]) - self._center) / _CENTER_WIDTH
        weights = torch.exp(-0.5 * distance**2)
        weights = weights / weights.sum()
        near = torch.einsum("bczyx,z,y,x->bc", values, weights, weights, weights)
        return torch.cat([values.mean(dim=(2, 3, 4)), near], dim=1)


def build_network(window_voxel: int, classes: int) -> nn.Sequential:
    """Return [features, decision] on the meta device: three levels, each begun with a stride of 2, pooled and mixed."""
    first, second, third = CHANNELS
    with torch.device("meta"):  # the global generator is left alone
        features = nn.Sequential(
            nn.AvgPool3d(binning(window_voxel)),
            *_convolution(1, first, stride=2),
            *_convolution(first, second, stride=2),
            *_convolution(second, second),
            *_convolution(second, third, stride=2),
            *_convolution(third, third),
            # a convolution of stride 2, padded by 1, has its output i at its input 2 i
            _Pool(window_voxel // 2 / binning(window_voxel) / 8),
            nn.Linear(2 * third, third),
            nn.SiLU(),
        )
        return nn.Sequential(features, nn.Linear(third, classes))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.GroupNorm(8, outputs), nn.SiLU()]


def fresh_network(window_voxel: int, classes: int, seed: int) -> nn.Sequential:
    """Build the network with weights from the seed alone, drawn as PyTorch draws them: U(+-1/sqrt(fan_in))."""
    network = build_network(window_voxel, classes).to_empty(device="cpu")
    generator = torch_generator(seed, "classifier weights")
    for layer in network.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.reset_parameters()
        elif isinstance(layer, nn.Conv3d | nn.Linear):
            bound = layer.weight[0].numel() ** -0.5
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return network
