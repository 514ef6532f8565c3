"""The learned embedding: a classifier trained on the real training boxes, kept so that the next evaluation finds it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from platformdirs import user_cache_path

from frazil.core.console import warn
from frazil.core.errors import BundleError, OutputError
from frazil.core.files import text_digest
from frazil.core.version import __version__
from frazil.evaluation.metrics.embeddings import Embedding, Remembered, fixed_embeddings
from frazil.evaluation.stages.material import OnStep
from frazil.evaluation.stages.usefulness.classifier import (
    BATCH_SIZE,
    CHANNELS,
    SHIFT_VOXEL,
    STEPS,
    Classifier,
    train_classifier,
)
from frazil.evaluation.volumes import Sets

CACHE_VARIABLE = "FRAZIL_CACHE"

_METHOD = (__version__, torch.__version__, STEPS, BATCH_SIZE, CHANNELS, SHIFT_VOXEL)
"""How it is trained: no embedding that was trained otherwise is taken."""


def cache_folder() -> Path:
    """Return where learned embeddings are kept: ``$FRAZIL_CACHE``, else the platform's cache folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or user_cache_path("frazil", appauthor=False))


def all_embeddings(learned: Embedding) -> dict[str, Embedding]:
    """Return the learned embedding and those that no training has touched, by name; none embeds a volume twice."""
    return {name: Remembered(embedding) for name, embedding in {"learned": learned, **fixed_embeddings()}.items()}


class LearnedEmbedding:
    """The classifier of an evaluation. All generators that are judged against the same real boxes get the same one.

    Parameters
    ----------
    real_digest : of the store with the training boxes.
    folder : of the cache.
    """

    def __init__(self, real_digest: str, box_size_voxel: int, seed: int, folder: Path) -> None:
        # threads round differently, and the training carries it on
        key = json.dumps([_METHOD, torch.get_num_threads(), real_digest, box_size_voxel, seed])
        self.path = folder / "embeddings" / f"{text_digest(key).removeprefix('sha256:')[:32]}.safetensors"
        self.seed = seed
        self._classifier: Classifier | None = None

    def find(self) -> bool:
        """Return whether it has been learned before, and load it."""
        if self._classifier is None and self.path.exists():
            try:
                self._classifier = Classifier.load(self.path)
            except BundleError as fault:  # it is only a copy of what can be learned again
                warn(f"{fault}; training it again")
        return self._classifier is not None

    def learn(self, sets: Sets, on_step: OnStep) -> None:
        """Train it on the training boxes and keep it; where the cache cannot be written, only for now."""
        self._classifier = train_classifier(sets.training, sets.training.classes, seed=self.seed, on_step=on_step)
        try:
            self._classifier.save(self.path)
        except OutputError as fault:
            warn(f"the learned embedding was not saved ({fault}); set {CACHE_VARIABLE} to a writable folder")

    @property
    def description(self) -> str:
        """What it is, in a line; it must have been found or learned."""
        assert self._classifier is not None
        return self._classifier.description

    def __call__(self, volumes: Float32[np.ndarray, "n z y x"]) -> Float32[np.ndarray, "n d"]:
        """Return the features that the classifier decides by."""
        assert self._classifier is not None
        return self._classifier.features(volumes)
