"""Memory: what this process may take of the machine, and how the C library handles what was freed."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from contextlib import suppress
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h

_PLENTY = 4
"""This many times what is needed must be there: freed memory that is kept is fragmented, up to half as much again."""

_own_processes = 0


@functools.lru_cache
def machine_memory(processes: int = 1) -> int:
    """Return the bytes of memory that each of `processes` may take: the machine's, or what a container or batch system allows."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))]) // processes


def _limits(membership: Path, root: Path) -> list[int]:
    """Return the memory limits of this process's control groups (version 2) and of all above them."""
    found = []
    with suppress(OSError, ValueError):
        entries = [line.split(":", 2) for line in membership.read_text().splitlines()]
        names = [Path(path.lstrip("/")) for number, _, path in entries if number == "0"]
        for group in [part for name in names for part in (name, *name.parents)]:
            with suppress(OSError, ValueError):  # no such file, or "max"
                found.append(int((root / group / "memory.max").read_text()))
    return found


def own_process(processes: int = 1) -> None:
    """Say that this process, one of `processes` on this machine, runs a command of frazil and nothing else.

    Only then does `keep_freed_memory` change its allocator.
    """
    global _own_processes
    _own_processes = processes


def keep_freed_memory(needed_bytes: int, memory_bytes: int) -> bool:
    """Have glibc keep what is freed, and serve large blocks from it; return whether it does.

    By default it returns blocks above 32 MB to the system at once and pays for every page of the next one again: between a tenth and
    two fifths of the CPU time of a network or a simulation (docs/lab/performance.md). The change lasts as long as the process, so a
    notebook or somebody else's program is left alone (`own_process`); without glibc nothing happens.
    """
    if not sys.platform.startswith("linux") or not 0 < needed_bytes * _PLENTY * _own_processes <= memory_bytes:
        return False
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, -1))
    return False
