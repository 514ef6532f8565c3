"""The C library's memory: kept for the next volume where there is enough of it, instead of given back and asked for again."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h

_PLENTY = 4
"""So many times what is needed must be there: freed memory that is kept falls to pieces, up to half as much again."""


def keep_freed_memory(needed_bytes: int, memory_bytes: int) -> bool:
    """Have glibc keep what is freed, and hand large blocks out of it; return whether it does.

    It gives blocks above 32 MB back to the system at once and pays for every page of the next one anew: between a tenth and two
    fifths of the CPU time of a network (docs/performance.md). For the rest of the process; does nothing where there is no glibc.

    Parameters
    ----------
    needed_bytes : about what the work will take.
    memory_bytes : what the machine has for it.
    """
    if not sys.platform.startswith("linux") or needed_bytes * _PLENTY > memory_bytes:
        return False
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, -1))
    return False
