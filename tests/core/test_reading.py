import os

import pytest

from frazil.core.errors import SettingsError, StoreError
from frazil.core.reading import parse_toml, read_bytes, read_json


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[" * 100_000, "recursion"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested more than 100 deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "4300 digits"),
        (b'{"a": 18446744073709551616}', "more than 64 bits"),
        (b'{"a": "\\ud800"}', "surrogates"),
        (b"\xff", "utf-8"),
        (b"[]", "a list instead of a JSON object"),
    ],
)
def test_hostile_json(tmp_path, refuses, content, why):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with refuses(StoreError, str(path), why, "repair the file"):
        read_json(path, StoreError)


def test_numbers_up_to_64_bits_and_whole_characters_are_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": [18446744073709551615, -9223372036854775808], "b": "\\ud83e\\uddca"}')
    assert read_json(path, StoreError) == {"a": [2**64 - 1, -(2**63)], "b": "\N{ICE CUBE}"}


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000, "a = " + "[" * 101 + "]" * 101])
def test_hostile_toml(refuses, text):
    with refuses(SettingsError, "p.toml", "not valid TOML", "correct the file"):
        parse_toml(text, "p.toml", SettingsError)


def test_only_plain_files_of_limited_size(tmp_path, refuses):
    (tmp_path / "large").write_bytes(bytes(3 << 20))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name, why in {
        "pipe": "a pipe or a device",
        "zeros": "a pipe or a device",
        ".": "a folder",
        "large": "3 MB",
    }.items():
        with refuses(StoreError, str(tmp_path / name), why, "check the path"):
            read_bytes(tmp_path / name, StoreError, largest=1 << 20)
