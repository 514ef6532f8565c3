"""The errors that frazil raises for what a user can cause.

Every message is one line that names the thing, the value and the remedy. The command line prints it and exits with code 2.
"""

from __future__ import annotations


class FrazilError(Exception):
    """Base of all errors that a user can cause and fix."""

    exit_code = 2


class SettingsError(FrazilError):
    """A preset, a configuration file or an option has a value that cannot be used."""


class ShapeError(FrazilError):
    """Array shapes that do not fit together, or that the network cannot take."""


class SourceError(FrazilError):
    """A tomogram or a project cannot be read as asked."""


class MissingTomogramError(SourceError):
    """The requested tomogram or level does not exist; the picks can still be counted."""


class MissingMapError(SourceError):
    """A run has no segmentation of the name that is asked for."""


class AmbiguousTomogramError(MissingTomogramError):
    """There are several tomograms to choose from."""


class PickError(FrazilError):
    """Picks are malformed, empty, of an unknown class, or do not fit their tomogram."""


class StoreError(FrazilError):
    """A box store is damaged, incomplete, or was written with other settings."""


class BundleError(FrazilError):
    """A bundle is damaged, has a newer schema, or does not hold what is asked for."""


class CheckpointError(FrazilError):
    """A training checkpoint is damaged or belongs to another run."""


class TrainingError(FrazilError):
    """A training that cannot continue, e.g. because its loss is NaN."""


class RequestError(FrazilError):
    """A request for samples with a label, position, sampler or count that cannot be served."""


class OutputError(FrazilError):
    """An output folder that cannot be written, or holds something that would be overwritten."""


class SimulationError(FrazilError):
    """A specimen or an acquisition that cannot be simulated as asked."""


class WorkerError(FrazilError):
    """Worker processes, or a cluster, that cannot be used or that were killed."""
