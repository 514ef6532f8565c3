"""What is saved comes back; what is damaged is refused; nothing is executed."""

import hashlib
import json
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from frazil.core.errors import CheckpointError
from frazil.training.checkpoint import load_checkpoint, save_checkpoint

plain = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8)
nested = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=30, deadline=None)
@given(content=nested)
def test_nested_values_come_back(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "last"
    save_checkpoint({"content": content}, path)
    assert load_checkpoint(path) == {"content": content}


def test_tensors_come_back_bitwise_whatever_their_layout(tmp_path):
    tensors = {
        "weights": torch.randn(4, 2, 3, 3, 3, generator=torch.Generator().manual_seed(0)).to(
            memory_format=torch.channels_last_3d
        ),
        "half": torch.randn(5).bfloat16(),
        "step": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
    }
    save_checkpoint({"optimizer": {0: tensors}}, tmp_path / "last")
    loaded = load_checkpoint(tmp_path / "last")["optimizer"][0]
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_an_object_is_not_stored(tmp_path):
    with pytest.raises(TypeError, match="cannot hold a object"):
        save_checkpoint({"callback": object()}, tmp_path / "last")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="last: no such file"):
        load_checkpoint(tmp_path / "last")


@pytest.mark.parametrize("damage", ["truncated", "one byte", "a pickle", "empty"])
def test_a_damaged_checkpoint_is_refused_with_a_remedy(tmp_path, damage):
    path = tmp_path / "last"
    save_checkpoint({"weights": torch.ones(100)}, path)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[:-50]
    elif damage == "one byte":
        content[-3] ^= 1
    elif damage == "a pickle":
        content = bytearray(pickle.dumps({"weights": 1}))
    else:
        content = bytearray()
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged.*delete it to train from the beginning"):
        load_checkpoint(path)


def test_a_newer_schema_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("frazil.training.checkpoint.SCHEMA_VERSION", 3)
    save_checkpoint({"weights": torch.ones(1)}, tmp_path / "last")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="schema 3 was written by a newer frazil; upgrade frazil"):
        load_checkpoint(tmp_path / "last")


def test_a_changed_setting_is_found_and_a_checkpoint_of_0_1_can_be_read(tmp_path):
    path = tmp_path / "last"
    save_checkpoint({"weights": torch.ones(3), "learning_rate": 0.25}, path)
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.75"))
    with pytest.raises(CheckpointError, match="its digest does not match"):
        load_checkpoint(path)
    digest = hashlib.blake2b(b"00000" + torch.ones(3).numpy().tobytes(), digest_size=16).hexdigest()
    structure = json.dumps({"dict": [["weights", {"tensor": "00000"}]]})
    save_file({"00000": torch.ones(3)}, path, {"schema_version": "1", "structure": structure, "digest": digest})
    assert torch.equal(load_checkpoint(path)["weights"], torch.ones(3))
