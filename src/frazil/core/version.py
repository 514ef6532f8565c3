"""The version of the installed package, apart from the package itself so that every layer may name it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("frazil")
except PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0.0.0"

SIMULATED_BY = "Simulated by frazil"
"""How files that no microscope has anything to do with are signed; readers recognize them by it."""


def signature(*, simulated: bool = False) -> str:
    """Return the line by which frazil signs the files that it writes."""
    return f"{SIMULATED_BY if simulated else 'Written by frazil'} {__version__}"
