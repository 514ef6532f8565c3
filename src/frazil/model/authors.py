"""Turn a checkpoint of the paper's authors (their reference implementation in PyTorch) into a bundle."""

from __future__ import annotations

import math
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frazil.core.console import say
from frazil.core.documents import differences
from frazil.core.errors import BundleError, OutputError, SettingsError
from frazil.core.files import file_digest
from frazil.core.folder import OutputFolder
from frazil.core.ledger import Ledger
from frazil.core.presets import load_preset
from frazil.core.reading import check_plain_file
from frazil.core.settings import Preset
from frazil.model.bundle import (
    CARD_FILE,
    WEIGHTS_FILE,
    Bundle,
    BundleCard,
    check_replaceable,
    find_fault,
    load_bundle,
    save_bundle,
)
from frazil.model.unet import ConditionalUNet, empty_network

_THEIR_NAMES = {
    "embed.time.0": "cond_emb.time_mlp.1",
    "embed.time.2": "cond_emb.time_mlp.3",
    "embed.label": "cond_emb.class_mlp",
    "embed.position.0": "cond_emb.coord_mlp.0",
    "embed.position.2": "cond_emb.coord_mlp.2",
}
"""Ours -> theirs; all other modules have the same name in both."""

_KEYS = ("model_state", "num_classes", "idx_to_class", "patch_size", "T", "beta_start", "beta_end", "schedule")
_AGAIN = "download the file again"


def import_weights(
    checkpoint: Path, out: Path, *, voxel_size_angstrom: float | None = None, force: bool = False
) -> Bundle:
    """Write the weights of an authors' checkpoint as a bundle. No code in the file is ever run.

    Parameters
    ----------
    checkpoint : their ``.pt`` file.
    out : folder of the bundle.
    voxel_size_angstrom : of their boxes, which the checkpoint does not say; None leaves it open.
    force : replace another bundle in `out`.

    Raises
    ------
    BundleError : not a checkpoint of theirs, damaged, holds code, or uses a noise schedule that frazil does not have.
    OutputError : `out` cannot be written, or holds something else.
    SettingsError : a voxel size that is not positive.
    """
    if voxel_size_angstrom is not None and not (math.isfinite(voxel_size_angstrom) and voxel_size_angstrom > 0):
        raise SettingsError(f"voxel size {voxel_size_angstrom} A: must be a positive number, e.g. 10.012444")
    check_replaceable(out)
    content = _read_checkpoint(checkpoint)
    card = _card(checkpoint, content, voxel_size_angstrom)
    network = _network(checkpoint, content["model_state"], card)
    folder = OutputFolder(out, CARD_FILE, BundleCard, (WEIGHTS_FILE,))
    with folder.held():
        there = folder.record_path.exists()
        if there and not force:
            return _existing(out, card)
        if not there and folder.written() and not Ledger(out).unchanged(WEIGHTS_FILE):
            raise OutputError(
                f"{out / WEIGHTS_FILE}: frazil did not write it and will not replace it; choose another folder"
            )
        work = folder.anew() if there else folder
        bundle = save_bundle(work.path, network, card)
        work.finish()
    count = sum(parameter.numel() for parameter in bundle.network.parameters())
    size = "voxel size unknown" if voxel_size_angstrom is None else f"voxels of {voxel_size_angstrom} A"
    labels = f"{len(card.labels)} classes: {', '.join(card.labels)}"
    say(f"{out}: {count:,} parameters, boxes of {card.box_size_voxel}^3, {size}; {labels}")
    if voxel_size_angstrom is None:
        say(
            "the checkpoint does not say the voxel size; import with the voxel size (10.012444 for the CZII set), "
            "or sample with it"
        )
    return bundle


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """Read tensors, numbers, strings and plain containers; refuse everything else."""
    check_plain_file(path, BundleError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: for programmers
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); name the authors' .pt file") from None
    except Exception as error:  # a damaged pickle or archive may raise anything
        named = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        what = f"holds code ({named[1]})" if named else f"not a PyTorch checkpoint, or damaged ({type(error).__name__})"
        raise BundleError(f"{path}: {what}; nothing was run, {_AGAIN}") from None
    if not isinstance(content, dict):
        raise BundleError(f"{path}: holds {type(content).__name__}, not the dictionary of the authors' train.py")
    if missing := [key for key in _KEYS if key not in content]:
        raise BundleError(f"{path}: lacks {', '.join(missing)}; name a checkpoint that the authors' train.py wrote")
    if isinstance(state := content["model_state"], dict):  # of a compiled network, or one on several devices
        content["model_state"] = {re.sub(r"^((_orig_mod|module)\.)+", "", str(name)): state[name] for name in state}
    return content


def _card(path: Path, content: dict[str, Any], voxel_size_angstrom: float | None) -> BundleCard:
    """Describe the checkpoint in frazil's terms, after checking every value of it."""
    if content["schedule"] != "linear":
        raise BundleError(
            f"{path}: schedule {content['schedule']!r}: frazil only has the paper's linear schedule; "
            "import a checkpoint trained with the schedule linear"
        )
    state, box_size_voxel = content["model_state"], content["patch_size"]
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise BundleError(f"{path}: model_state is not a dictionary of tensors; {_AGAIN}")
    if not isinstance(box_size_voxel, int):
        raise BundleError(f"{path}: patch_size {box_size_voxel!r} is not a whole number; {_AGAIN}")
    preset = _preset(path, content, state)
    epochs = content.get("epoch")
    return BundleCard(
        preset=preset,
        labels=_labels(path, content),
        box_size_voxel=box_size_voxel,
        voxel_size_angstrom=voxel_size_angstrom,
        normalisation=preset.training.normalisation,
        losses={"epochs": float(epochs)} if isinstance(epochs, int) else {},
        provenance=f"imported from {path.name} ({file_digest(path)}), a checkpoint of the paper's reference implementation",
    )


def _labels(path: Path, content: dict[str, Any]) -> tuple[str, ...]:
    count, names = content["num_classes"], content["idx_to_class"]
    if not isinstance(count, int) or count < 1:
        raise BundleError(f"{path}: num_classes {count!r} is not a positive whole number; {_AGAIN}")
    if not isinstance(names, dict) or set(names) != set(range(count)) or len(set(names.values())) != count:
        raise BundleError(f"{path}: idx_to_class does not name each of the {count} classes once; {_AGAIN}")
    return tuple(str(names[index]) for index in range(count))


def _preset(path: Path, content: dict[str, Any], state: dict[str, Tensor]) -> Preset:
    """Return the paper's settings with the values of this checkpoint."""
    overrides: dict[str, Any] = {
        "name": "imported",
        "curate.box_size_voxel": content["patch_size"],
        "model.conditioning": "sum",
        "diffusion.timesteps": content["T"],
        "diffusion.beta_start": content["beta_start"],
        "diffusion.beta_end": content["beta_end"],
    }
    for setting, name in (("base_channels", "enc1.conv1.bias"), ("embedding_width", "cond_emb.class_mlp.bias")):
        if name in state:
            overrides[f"model.{setting}"] = state[name].numel()
    try:
        return load_preset("paper", overrides)
    except SettingsError as error:
        raise BundleError(f"{path}: its values cannot be used ({error}); {_AGAIN}") from None


_LARGEST_WEIGHT = 1e4


def _network(path: Path, state: dict[str, Tensor], card: BundleCard) -> ConditionalUNet:
    """Give their weights to our network."""
    network = empty_network(card.preset.model, len(card.labels), card.preset.diffusion)
    names = {}
    for name in network.state_dict():
        module, _, tensor = name.rpartition(".")
        names[name] = f"{_THEIR_NAMES.get(module, module)}.{tensor}"
    shapes = {names[name]: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if fault := find_fault(shapes, state):
        raise BundleError(f"{path}: model_state is not of the authors' network: {fault}; name a checkpoint of theirs")
    weights = {ours: state[theirs].to(torch.float32) for ours, theirs in names.items()}
    for name, values in weights.items():  # nothing else would find a flipped bit
        if not (values.abs() < _LARGEST_WEIGHT).all():  # nor NaN
            raise BundleError(f"{path}: {names[name]} of model_state has values that no trained network has; {_AGAIN}")
    # their coordinates are xyz, ours zyx
    weights["embed.position.0.weight"] = weights["embed.position.0.weight"].flip(1).contiguous()
    network.load_state_dict(weights, assign=True)
    return network


def _existing(out: Path, card: BundleCard) -> Bundle:
    """Return the finished bundle if it is this import; refuse to touch another."""
    try:
        bundle = load_bundle(out)
    except BundleError:
        raise OutputError(
            f"{out}: holds a damaged bundle; choose another folder, or pass --force (in Python: force=True) to replace it"
        ) from None
    if different := differences(bundle.card, card, free=("torch_version", "weights_digest")):
        raise OutputError(
            f"{out}: holds another bundle ({'; '.join(different)}); "
            "choose another folder, or pass --force (in Python: force=True) to replace it"
        )
    say(f"{out}: already imported; nothing to do")
    return bundle
