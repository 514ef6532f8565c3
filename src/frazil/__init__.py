"""frazil: learn from annotated cryo-electron tomograms, generate realistic, labelled particle volumes.

``frazil.load().sample(label="ribosome", count=5, seed=0)`` is the Python entry; the command line is ``frazil``.
Nothing heavy is imported until it is used: ``import frazil`` costs milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from frazil.core.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from frazil.sampling.generator import ParticleGenerator

__all__ = ["__version__", "load"]


def load(bundle: str | Path = "pretrained", *, device: str = "auto") -> ParticleGenerator:
    """Open a bundle as a generator of labelled particle volumes.

    Parameters
    ----------
    bundle : folder that `frazil train` or `frazil import-weights` wrote: the bundle, or the run folder that holds it. Without one,
        the model that frazil brings along, which learnt the six CZII particles from simulated tomograms.
    device : ``"auto"`` (CUDA if there is one), ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    BundleError : the folder is no bundle, is damaged, or has a newer schema.
    """
    from frazil.sampling.generator import ParticleGenerator

    return ParticleGenerator.from_bundle(bundle, device=device)
