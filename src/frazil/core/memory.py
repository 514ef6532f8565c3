"""Memory: what this process may take of the machine, and how the C library handles what was freed."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from contextlib import suppress
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h

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

    Only then is its allocator changed, by this function and by `keep_freed_memory`: from now on, threads have no arenas of their own,
    which would give large blocks back whatever is asked for.
    """
    global _own_processes
    _own_processes = processes
    _ask_glibc(_M_ARENA_MAX, 1)


def keep_freed_memory(needed_bytes: int, memory_bytes: int) -> bool:
    """Have glibc keep what is freed, and serve large blocks from it; return whether it does.

    By default it returns blocks above 32 MB to the system at once and pays for every page of the next one again: between a tenth and
    two fifths of the CPU time of a network or a simulation (docs/lab/performance.md). The change lasts as long as the process, so a
    notebook or somebody else's program is left alone (`own_process`); without glibc nothing happens.
    """
    if not 0 < needed_bytes * _PLENTY * _own_processes <= memory_bytes:
        return False
    return _ask_glibc(_M_MMAP_MAX, 0) and _ask_glibc(_M_TRIM_THRESHOLD, -1)


def _ask_glibc(parameter: int, value: int) -> bool:
    """Set a parameter of the allocator, and return whether there is one that has it."""
    with suppress(OSError, AttributeError):  # another C library
        return sys.platform.startswith("linux") and bool(ctypes.CDLL("libc.so.6").mallopt(parameter, value))
    return False
