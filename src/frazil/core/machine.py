"""The memory of this machine, as far as this process may use it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


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
