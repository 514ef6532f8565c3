"""The C library's memory: freed memory is kept for the next volume if there is plenty, instead of returned and asked for again."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h

_PLENTY = 4
"""This many times what is needed must be there: freed memory that is kept is fragmented, up to half as much again."""

_own_process = False


def own_process() -> None:
    """Say that this process runs a command of frazil and nothing else: only then does `keep_freed_memory` change its allocator."""
    global _own_process
    _own_process = True


def keep_freed_memory(needed_bytes: int, memory_bytes: int) -> bool:
    """Have glibc keep what is freed, and serve large blocks from it; return whether it does.

    By default it returns blocks above 32 MB to the system at once and pays for every page of the next one again: between a tenth and
    two fifths of the CPU time of a network (docs/lab/performance.md). The change lasts as long as the process, so a notebook or somebody
    else's program is left alone (`own_process`); without glibc nothing happens.
    """
    if not _own_process or not sys.platform.startswith("linux") or needed_bytes * _PLENTY > memory_bytes:
        return False
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, -1))
    return False
