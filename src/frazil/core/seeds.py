"""Seeds: every random number in frazil descends from (seed, purpose, index), never from global state.

Draws with different purposes or indices are independent; the same triple gives the same draw on every machine of the same kind,
whatever the batch size, number of devices or number of restarts.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *path: int | str) -> int:
    """Return a 63-bit seed for the draw named by `path`, e.g. ``("sample", 17)``, independent of every other path."""
    text = "/".join([str(int(seed)), *(f"{type(part).__name__}:{part}" for part in path)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def numpy_generator(seed: int, *path: int | str) -> np.random.Generator:
    """Return a fresh NumPy generator for the draw named by `path`, from all 63 bits.

    Among n draws about n^2 / 2^64 pairs have the same numbers: none among a million.
    """
    return np.random.default_rng(derive_seed(seed, *path))


def torch_generator(seed: int, *path: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh torch generator on `device` for the draw named by `path`.

    On the CPU, torch uses only the low 32 bits of the seed, so among n draws about n^2 / 2^33 pairs have the same numbers (one
    pair among some 90,000 draws).
    """
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, *path))
