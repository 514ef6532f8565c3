"""frazil: learn from annotated cryo-electron tomograms, generate realistic, labeled particle volumes.

The commands of the command line are functions here, with the same options: `simulate`, `calibrate`, `curate`, `train`, `sample`,
`distill`, `compose`, `evaluate`, `compare`, `filter_samples`, `figures`, `export`, `prove`.
``frazil.load().sample(label="ribosome", count=5)`` samples in memory; `BoxDataset`, `SampleStream` and `WindowStream` feed a training
loop. In Python, positions and shapes are **zyx**.

Nothing heavy is imported until it is used: ``import frazil`` takes milliseconds.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # typing takes time, in which Ctrl-C would leave a traceback

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from frazil.composition.contrast import contrast as contrast
    from frazil.composition.run import compose as compose
    from frazil.core.version import __version__ as __version__
    from frazil.dataset.boxes import BoxDataset as BoxDataset
    from frazil.dataset.run import curate as curate
    from frazil.dataset.store import BoxStore as BoxStore
    from frazil.evaluation.compare import compare as compare
    from frazil.evaluation.figures import figures as figures
    from frazil.evaluation.filter import filter_samples as filter_samples
    from frazil.evaluation.run import evaluate as evaluate
    from frazil.exporting.run import export as export
    from frazil.proof.complete import complete as complete
    from frazil.proof.run import prove as prove
    from frazil.proof.stream import WindowDataset as WindowDataset
    from frazil.proof.stream import WindowStream as WindowStream
    from frazil.sampling.folder import SampleFolder as SampleFolder
    from frazil.sampling.generator import ParticleGenerator as ParticleGenerator
    from frazil.sampling.request import Request as Request
    from frazil.sampling.run import sample as sample
    from frazil.sampling.samples import Samples as Samples
    from frazil.sampling.stream import SampleStream as SampleStream
    from frazil.simulation.calibration.run import calibrate as calibrate
    from frazil.simulation.run import simulate as simulate
    from frazil.training.run import distill as distill
    from frazil.training.run import train as train

_HOMES = {
    "BoxDataset": "dataset.boxes",
    "BoxStore": "dataset.store",
    "ParticleGenerator": "sampling.generator",
    "Request": "sampling.request",
    "SampleFolder": "sampling.folder",
    "SampleStream": "sampling.stream",
    "Samples": "sampling.samples",
    "WindowDataset": "proof.stream",
    "WindowStream": "proof.stream",
    "__version__": "core.version",
    "calibrate": "simulation.calibration.run",
    "compare": "evaluation.compare",
    "complete": "proof.complete",
    "compose": "composition.run",
    "contrast": "composition.contrast",
    "curate": "dataset.run",
    "distill": "training.run",
    "evaluate": "evaluation.run",
    "export": "exporting.run",
    "figures": "evaluation.figures",
    "filter_samples": "evaluation.filter",
    "prove": "proof.run",
    "sample": "sampling.run",
    "simulate": "simulation.run",
    "train": "training.run",
}
"""Where each name comes from, when it is first used."""

__all__ = sorted([*_HOMES, "load"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'frazil' has no attribute {name!r}")
    return getattr(import_module(f"frazil.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__


def load(
    bundle: str | Path = "pretrained", *, device: str = "auto", voxel_size_angstrom: float | None = None
) -> ParticleGenerator:
    """Open a bundle as a generator of labeled particle volumes.

    Parameters
    ----------
    bundle : folder that `frazil train` or `frazil import-weights` wrote: the bundle, or the run folder that holds it. By default
        the bundled pretrained model, which learned the six CZII particles from simulated tomograms.
    device : ``auto`` (CUDA if there is one), ``cpu``, ``cuda`` or ``cuda:1``.
    voxel_size_angstrom : edge of a voxel, only for a bundle that does not know it (imported weights).

    Raises
    ------
    BundleError : the folder is not a bundle, is damaged, or has a newer schema.
    RequestError : the device does not exist here, or the voxel size contradicts the bundle's.
    """
    from frazil.sampling.generator import ParticleGenerator

    return ParticleGenerator.from_bundle(bundle, device=device, voxel_size_angstrom=voxel_size_angstrom)
