"""A small 3D network that tells classes apart: judge of the right class, measure of usefulness, and learned embedding.

The same volumes, labels, seed and number of threads give the same network, bit by bit, on a CPU. All is float32: bfloat16 would
save a quarter of the time on the newest CPUs and give other numbers there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from frazil.core.errors import BundleError, OutputError, RequestError, ShapeError, TrainingError
from frazil.core.files import atomic_path, bytes_digest
from frazil.core.seeds import numpy_generator
from frazil.evaluation.stages.usefulness.network import (
    BATCH_SIZE,
    CARD_FILE,
    LEAST_EDGE,
    SHIFT_VOXEL,
    STEPS,
    ClassifierCard,
    binning,
    build_network,
    fresh_network,
    read_card,
    window_edge,
)
from frazil.model.bundle import find_fault
from frazil.volume.crop import crop_center
from frazil.volume.turns import Turn, draw_turns, turn_each

WEIGHTS_FILE = "model.safetensors"

_LEARNING_RATE = 3e-3
_WEIGHT_DECAY = 0.01
_LABEL_SMOOTHING = 0.1
"""So that the doubts of correct volumes still differ."""


class Classifier:
    """A trained classifier.

    Parameters
    ----------
    network : in evaluation mode.
    card : what is known of it.
    """

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
        """Return the probability of each class.

        Raises
        ------
        ShapeError : boxes of another size than it was trained on.
        """
        return self._run(volumes, lambda batch: self._network(batch).softmax(dim=1), len(self.classes))

    def features(self, volumes: Float32[np.ndarray, "n z y x"]) -> Float32[np.ndarray, "n d"]:
        """Return what the last layer decides by: `(n, 64)`.

        Raises
        ------
        ShapeError : boxes of another size than it was trained on.
        """
        return self._run(volumes, lambda batch: self._network[0](batch), self.card.channels[-1])  # type: ignore[index]

    def save(self, folder: Path) -> None:
        """Write it as a folder, whole or not at all; a classifier that is already there is replaced.

        Raises
        ------
        OutputError : `folder` cannot be written, or holds something else.
        """
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / CARD_FILE).is_file()):
            raise OutputError(f"{folder}: holds something other than a classifier; choose another folder")
        tensors = {name: tensor.contiguous() for name, tensor in self._network.state_dict().items()}
        weights = save_tensors(tensors, metadata={"format": "pt"})
        card = self.card.model_copy(update={"weights_digest": bytes_digest(weights)})
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            (temporary / WEIGHTS_FILE).write_bytes(weights)
            (temporary / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        self.card = card

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Read a classifier; it predicts what it predicted before it was saved, bit by bit.

        Raises
        ------
        BundleError : none there, damaged, or of a newer schema.
        """
        card = read_card(folder / CARD_FILE)
        path = folder / WEIGHTS_FILE
        try:
            weights = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({error.strerror}); train the classifier again") from None
        if bytes_digest(weights) != card.weights_digest:
            raise BundleError(f"{path}: damaged, its digest is not the one in {CARD_FILE}; train the classifier again")
        try:
            tensors = load_tensors(weights)
        except SafetensorError as error:
            raise BundleError(f"{path}: damaged ({error}); train the classifier again") from None
        with torch.device("meta"):
            network = build_network(card)
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        if fault := find_fault(shapes, tensors):
            raise BundleError(f"{path}: does not fit {CARD_FILE}: {fault}; train the classifier again")
        network.load_state_dict(tensors, assign=True)
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


def train_classifier(
    volumes: Float32[np.ndarray, "n z y x"],
    labels: Sequence[str] | np.ndarray,
    *,
    classes: tuple[str, ...],
    seed: int,
    steps: int = STEPS,
    batch_size: int = BATCH_SIZE,
    window_voxel: int | None = None,
    shift_voxel: int = SHIFT_VOXEL,
    turns: Sequence[Turn] = ("identity",),
    voxel_size_angstrom: float | None = None,
    on_step: Callable[[float], None] | None = None,
) -> Classifier:
    """Train a classifier for a fixed number of steps; every class is shown equally often, whatever its number.

    Adam with decoupled weight decay and one cycle of the learning rate (Smith & Topin 2019), cross-entropy with smoothed labels.

    Parameters
    ----------
    volumes : `(n, z, y, x)` cubes, each z-scored.
    labels : class of each.
    classes : that it shall tell apart, in the order of its probabilities. One without volumes is never predicted with reason.
    seed : of its weights, and of the order and the places of what it is shown.
    steps, batch_size : more data does not make more steps.
    window_voxel : edge of the central cube that it looks at; None is `window_edge`.
    shift_voxel : the cube is moved by up to so much along each axis, as far as the box allows.
    turns : each volume is turned by one of these each time it is shown (`frazil.volume.turns.wedge_turns`).
    voxel_size_angstrom : kept in the card.
    on_step : is told the share of the training that is done.

    Raises
    ------
    ShapeError : no cubes, cubes that are too small, or not as many labels as volumes.
    RequestError : no volumes, or a label that is not among the classes.
    TrainingError : the loss is no number any more.
    """
    card = _card(volumes, labels, classes, window_voxel).model_copy(
        update={
            "seed": seed,
            "steps": steps,
            "batch_size": batch_size,
            "shift_voxel": shift_voxel,
            "turns": tuple(turns),
            "voxel_size_angstrom": voxel_size_angstrom,
        }
    )
    network = fresh_network(card)
    targets = np.array([classes.index(str(label)) for label in labels])
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=max(steps, 8), pct_start=0.25)
    for step, (batch, target) in enumerate(_batches(volumes, targets, card), start=1):
        loss = nn.functional.cross_entropy(network(batch), target, label_smoothing=_LABEL_SMOOTHING)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"loss {loss.item()} of the classifier in step {step}: no number; look for volumes with NaN"
            )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if on_step:
            on_step(step / steps)
    return Classifier(network, card)


def _card(
    volumes: np.ndarray, labels: Sequence[str] | np.ndarray, classes: tuple[str, ...], window_voxel: int | None
) -> ClassifierCard:
    """Check what is to be learned, and describe it."""
    edge = volumes.shape[-1]
    if volumes.ndim != 4 or len(set(volumes.shape[1:])) != 1 or edge < LEAST_EDGE:
        raise ShapeError(
            f"volumes of shape {volumes.shape} cannot be classified; give (n, z, y, x) cubes of {LEAST_EDGE} voxels or more"
        )
    if len(volumes) != len(labels):
        raise ShapeError(f"{len(labels)} labels for {len(volumes)} volumes; give one for each")
    if not len(volumes):
        raise RequestError("0 volumes to learn classes from; give some of each class")
    if unknown := sorted({str(label) for label in labels} - set(classes)):
        raise RequestError(
            f"label {unknown[0]!r} is not among the classes {', '.join(classes)}; leave it out or add it"
        )
    window = window_edge(edge) if window_voxel is None else window_voxel
    return ClassifierCard(
        classes=classes,
        box_size_voxel=edge,
        window_voxel=window,
        binning=binning(window),
        seed=0,
        steps=STEPS,
        batch_size=BATCH_SIZE,
        shift_voxel=SHIFT_VOXEL,
        turns=("identity",),
        counts={name: int(np.sum(np.asarray(labels) == name)) for name in classes},
    )


def _batches(
    volumes: Float32[np.ndarray, "n z y x"], targets: Int64[np.ndarray, "n"], card: ClassifierCard
) -> Iterator[tuple[Float[Tensor, "b 1 z y x"], Int64[Tensor, "b"]]]:
    """Yield as many batches as there are steps, all classes equally often."""
    random = numpy_generator(card.seed, "classifier batches")
    rows_of = [np.flatnonzero(targets == target) for target in np.unique(targets)]
    reach = min(card.shift_voxel, (card.box_size_voxel - card.window_voxel) // 2)
    for _ in range(card.steps):
        places = random.permutation(np.arange(card.batch_size)) % len(rows_of)
        rows = np.array([random.choice(rows_of[place]) for place in places])
        shifts = random.integers(-reach, reach + 1, size=(card.batch_size, 3))
        windows = [crop_center(volumes[row], card.window_voxel, shift) for row, shift in zip(rows, shifts, strict=True)]
        turned = turn_each(np.stack(windows), draw_turns(card.batch_size, card.turns, random))
        yield _as_tensor(turned), torch.from_numpy(targets[rows])


def _as_tensor(windows: Float32[np.ndarray, "b z y x"]) -> Float[Tensor, "b 1 z y x"]:
    return torch.from_numpy(np.ascontiguousarray(windows, dtype=np.float32))[:, None]
