"""The copick library, without what its import does to the program: it gives the root logger a handler and opens it to INFO."""

import logging

_root = logging.getLogger()
_level, _handlers = _root.level, list(_root.handlers)

import copick  # noqa: E402
from copick.impl.filesystem import CopickConfigFSSpec, CopickRootFSSpec  # noqa: E402
from copick.util.relion import relion_rows_to_poses  # noqa: E402

_root.setLevel(_level)
_root.handlers[:] = _handlers

__all__ = ["CopickConfigFSSpec", "CopickRootFSSpec", "copick", "relion_rows_to_poses"]
