"""The one record base: a round trip, what is refused, and how differences are named."""

import json
from typing import ClassVar, Literal

import pytest

from frazil.core.documents import Document, differences
from frazil.core.errors import SourceError


class Soup(Document):
    written_by: ClassVar[str] = "frazil cook"
    schema_version: int = 2
    kind: Literal["soup"] = "soup"
    salt_gram: float = 1.0
    spoons: tuple[int, ...] = ()
    guests: tuple[dict[str, str | int], ...] = ()


def test_a_record_comes_back_as_it_was(tmp_path):
    soup = Soup(salt_gram=2.5, spoons=(1, 2))
    soup.write(tmp_path / "soup.json")
    assert Soup.read(tmp_path / "soup.json", SourceError) == soup
    assert json.loads((tmp_path / "soup.json").read_text())["schema_version"] == 2


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"kind": "stew"}, "frazil cook"),
        ({"schema_version": 3}, "upgrade frazil"),
        ({"salt_gram": "much"}, "salt_gram"),
        ({"pepper": 1}, "pepper"),
    ],
)
def test_what_it_does_not_understand_is_refused(tmp_path, change, names):
    path = tmp_path / "soup.json"
    path.write_text(json.dumps(Soup().model_dump(mode="json") | change))
    with pytest.raises(SourceError, match=names):
        Soup.read(path, SourceError)


def test_a_record_without_kind_is_of_frazil_0_1(tmp_path):
    """As ``simulation.json`` was; records of other programs are not ours at all."""
    path = tmp_path / "soup.json"
    for content, names in (({"frazil_version": "0.1.0"}, "made by frazil 0.1; use a new folder"), ({}, "kind 'soup'")):
        path.write_text(json.dumps({"schema_version": 2} | content))
        with pytest.raises(SourceError, match=names):
            Soup.read(path, SourceError)


def test_differences_are_named_with_both_values():
    old = Soup(salt_gram=1, spoons=(1, 2), guests=({"label": "ann", "age": 3},))
    new = Soup(salt_gram=2, spoons=(1,), guests=({"label": "ann", "age": 4},))
    assert differences(old, new) == ["salt_gram 1 -> 2", "spoons 1,2 -> 1", "guests.ann.age 3 -> 4"]
    assert differences(old, new, free=("salt_gram", "guests")) == ["spoons 1,2 -> 1"]
    assert differences(old, old) == []
