"""Checkpoints without pickle: tensors as safetensors, everything else as JSON in the same file's header, moved into place whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from frazil.core.errors import CheckpointError
from frazil.core.files import atomic_path
from frazil.core.reading import check_plain_file, one_line, parse_json

SCHEMA_VERSION = 2


def _flatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = f"{len(tensors):05d}"
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_flatten(key, tensors), _flatten(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_flatten(item, tensors) for item in value]}
    if isinstance(value, str | int | float | bool | None):
        return value
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _rebuild(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_rebuild(key, tensors): _rebuild(item, tensors) for key, item in content}
    items = [_rebuild(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def _digest(tensors: dict[str, Tensor], structure: str) -> str:
    digest = hashlib.blake2b(structure.encode(), digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a nested structure of dicts, lists, tuples, plain values and tensors."""
    tensors: dict[str, Tensor] = {}
    structure = json.dumps(_flatten(checkpoint, tensors))
    header = {
        "schema_version": str(SCHEMA_VERSION),
        "structure": structure,
        "digest": _digest(tensors, structure),
    }
    with atomic_path(path) as temporary:
        # written by Python, whose errors name what the system said; those of safetensors hide a full disk
        temporary.write_bytes(save(tensors, metadata=header))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote."""
    remedy = "delete it to train from the beginning, or restore a copy"
    check_plain_file(path, CheckpointError)
    try:
        with safe_open(path, framework="pt") as stream:
            header = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: the checkpoint is damaged ({error}); {remedy}") from None
    structure, said = header.get("structure", ""), header.get("schema_version", "0")
    version = int(said) if said.isdecimal() and len(said) < 9 else 0
    if version > SCHEMA_VERSION:
        raise CheckpointError(f"{path}: schema {version} was written by a newer frazil; upgrade frazil")
    if header.get("digest") != _digest(tensors, structure if version > 1 else ""):  # of tensors alone in schema 1
        raise CheckpointError(f"{path}: the checkpoint is damaged (its digest does not match); {remedy}")
    try:
        rebuilt: dict[str, Any] = _rebuild(
            parse_json(structure.encode(), str(path), CheckpointError, remedy=remedy), tensors
        )
    except (KeyError, TypeError, ValueError) as fault:
        raise CheckpointError(f"{path}: the checkpoint is damaged ({one_line(fault)}); {remedy}") from None
    return rebuilt


class SafeCheckpointIO(CheckpointIO):
    """Lets Lightning use `save_checkpoint` and `load_checkpoint`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path`."""
        save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the checkpoint at `path`; tensors come on the CPU and are copied to where they belong."""
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the checkpoint at `path`."""
        Path(path).unlink(missing_ok=True)
