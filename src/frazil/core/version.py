"""The version of the installed package, apart from the package itself so that every layer may name it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("frazil")
except PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0.0.0"
