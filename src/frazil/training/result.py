"""What `frazil.train` returns."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from frazil.model.bundle import RUN_BUNDLE
from frazil.plots.curves import read_metrics
from frazil.training.folder import BEST_BUNDLE, FIGURE_NAME, METRICS_NAME

if TYPE_CHECKING:
    from frazil.sampling.generator import ParticleGenerator

_NEWEST = 5


@dataclass(frozen=True)
class TrainingRun:
    """A training run, finished or not. A notebook shows its losses.

    Parameters
    ----------
    path : the run folder.
    finished : all epochs are done; False if the time ran out first.
    """

    path: Path
    finished: bool

    @property
    def bundle(self) -> Path:
        """The newest model."""
        return self.path / RUN_BUNDLE

    @property
    def best_bundle(self) -> Path:
        """The model of the lowest validation loss; there is none without validation boxes."""
        return self.path / BEST_BUNDLE

    @property
    def losses(self) -> pd.DataFrame:
        """One row per epoch: ``epoch``, ``train_loss``, ``validation_loss`` and the validation loss by noise level.

        Raises
        ------
        CheckpointError : no epoch is done yet.
        """
        return read_metrics(self.path / METRICS_NAME)

    def load(self, *, device: str = "auto") -> ParticleGenerator:
        """Open the newest model as a generator of labeled particle volumes; see `frazil.load`."""
        from frazil.sampling.generator import ParticleGenerator

        return ParticleGenerator.from_bundle(self.bundle, device=device)

    def _repr_html_(self) -> str:
        state = "finished" if self.finished else "not finished; train again with the same arguments to resume"
        head = f"<p>Training run <code>{escape(str(self.path))}</code>: {state}</p>"
        figure = self.path / f"{FIGURE_NAME}.png"
        if not figure.exists():
            return head
        picture = base64.b64encode(figure.read_bytes()).decode()
        columns = ["epoch", "train_loss", "validation_loss"]
        table = self.losses[columns].tail(_NEWEST).to_html(index=False, float_format="{:.4f}".format, na_rep="")
        return f'{head}<img alt="losses" style="max-width: 100%" src="data:image/png;base64,{picture}">{table}'
