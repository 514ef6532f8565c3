"""The one protocol of output folders: resume, refuse, replace, lock, and leave nothing behind."""

import json
from typing import ClassVar, Literal

import pytest

from frazil.core.documents import Document
from frazil.core.errors import OutputError
from frazil.core.folder import OutputFolder


class Request(Document):
    written_by: ClassVar[str] = "frazil cook"
    schema_version: int = 1
    kind: Literal["cook request"] = "cook request"
    dish: str = "soup"


@pytest.fixture
def folder(tmp_path):
    return OutputFolder(tmp_path / "a" / "out", "request.json", Request, owns=("pots/*.txt", "menu.html"))


def cook(folder, request, *, force=False):
    there = folder.earlier(request, force=force)
    with folder.held():
        if there is None:
            folder.start(request)
        (folder.path / "pots").mkdir(exist_ok=True)
        (folder.path / "pots" / "1.txt").write_text(request.dish)
    return there


def test_the_same_request_resumes(folder):
    assert cook(folder, Request()) is None
    assert cook(folder, Request()) == Request()


def test_another_request_is_refused_until_forced_and_then_replaces_only_its_own_files(folder):
    cook(folder, Request())
    (folder.path / "pots" / "notes.md").write_text("mine")
    with pytest.raises(OutputError, match="soup -> stew"):
        folder.earlier(Request(dish="stew"), force=False)
    assert cook(folder, Request(dish="stew"), force=True) is None
    assert (folder.path / "pots" / "1.txt").read_text() == "stew"
    assert (folder.path / "pots" / "notes.md").read_text() == "mine"


def test_another_request_starts_over_where_nothing_was_finished(folder):
    with folder.held():
        folder.start(Request())
    assert folder.earlier(Request(dish="stew"), force=False) is None


def test_a_file_of_somebody_else_is_never_replaced(folder):
    (folder.path / "pots").mkdir(parents=True)
    (folder.path / "pots" / "1.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(OutputError, match=r"1\.txt"):
            folder.earlier(Request(), force=force)


def test_a_damaged_record_is_refused_until_forced(folder):
    cook(folder, Request())
    folder.record_path.write_text("{")
    with pytest.raises(OutputError, match="--force"):
        folder.earlier(Request(), force=False)
    assert folder.earlier(Request(), force=True) is None


@pytest.mark.parametrize("change", [{"schema_version": None}, {"schema_version": "one"}, {"dish": 1}])
def test_a_record_of_which_a_field_is_damaged_is_refused_until_forced(folder, change):
    cook(folder, Request())
    folder.record_path.write_text(json.dumps(Request().model_dump() | change))
    with pytest.raises(OutputError, match=f"damaged, {next(iter(change))}"):
        folder.earlier(Request(), force=False)
    assert folder.earlier(Request(), force=True) is None


@pytest.mark.parametrize("change", [{"schema_version": 2}, {"kind": "laundry"}])
def test_what_another_program_wrote_is_refused_even_when_forced(folder, change):
    cook(folder, Request())
    Request.model_construct(**(Request().model_dump() | change)).write(folder.record_path)
    with pytest.raises(OutputError):
        folder.earlier(Request(), force=True)


def test_a_file_in_the_place_of_the_folder_is_refused(folder):
    folder.path.parent.mkdir()
    folder.path.write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        folder.earlier(Request(), force=True)


def test_one_process_at_a_time(folder):
    with folder.held(), pytest.raises(OutputError, match="another process"), folder.held():
        pass


def test_a_new_folder_goes_again_when_nothing_was_written(folder, tmp_path):
    with pytest.raises(ZeroDivisionError), folder.held():
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    cook(folder, Request())
    with pytest.raises(ZeroDivisionError), folder.held():
        raise ZeroDivisionError
    assert folder.record_path.exists()
