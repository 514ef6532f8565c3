"""The one protocol of output folders: resume, refuse, replace, lock, and leave nothing behind."""

import errno
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from frazil.core.documents import Document
from frazil.core.errors import OutputError
from frazil.core.files import atomic_path, locked, write_text
from frazil.core.folder import OutputFolder, final_place, unverified
from frazil.core.ledger import Ledger, enter, is_inside


class Request(Document):
    written_by: ClassVar[str] = "frazil cook"
    schema_version: int = 1
    kind: Literal["cook request"] = "cook request"
    dish: str = "soup"


@pytest.fixture
def folder(tmp_path):
    return OutputFolder(tmp_path / "a" / "out", "request.json", Request, owns=("pots/*.txt", "menu.html"))


def cook(folder, request, *, force=False):
    with folder.held():
        work, there = folder.begin(request, force=force)
        write_text(work.path / "pots" / "1.txt", request.dish)
        work.finish()
    return there


def shown(folder):
    """Return every file that a user sees, with its content."""
    files = [file for file in sorted(folder.path.rglob("*")) if file.is_file() and file.name != "frazil.log"]
    names = {str(file.relative_to(folder.path)): file for file in files}
    return {name: file.read_text() for name, file in names.items() if not name.startswith(".")}


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
        folder.begin(Request(), force=False)
    assert folder.earlier(Request(dish="stew"), force=False) is None


def test_a_file_of_somebody_else_is_never_replaced(folder):
    (folder.path / "pots").mkdir(parents=True)
    (folder.path / "pots" / "1.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(OutputError, match=r"1\.txt"):
            folder.earlier(Request(), force=force)


def test_a_folder_of_somebody_else_gets_no_log(folder):
    (folder.path / "pots").mkdir(parents=True)
    (folder.path / "pots" / "1.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"1\.txt"):
        cook(folder, Request())
    assert not (folder.path / "frazil.log").exists()
    (folder.path / "frazil.log").write_text("mine\n")
    with pytest.raises(OutputError, match=r"1\.txt"):
        cook(folder, Request())
    assert (folder.path / "frazil.log").read_text().startswith("mine\n")


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


def test_a_name_that_is_too_long_is_refused_wherever_it_is_first_met(tmp_path):
    folder = OutputFolder(tmp_path / ("x" * 300), "request.json", Request, owns=())
    with pytest.raises(OutputError, match="choose a shorter one"):
        folder.earlier(Request(), force=True)
    with pytest.raises(OutputError, match="choose a shorter one"), folder.held():
        pass


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


def test_what_is_replaced_stays_until_its_replacement_is_whole(folder):
    cook(folder, Request())
    before = shown(folder)
    stew = Request(dish="stew")
    for _ in range(2):  # the second call resumes
        with suppress(KeyboardInterrupt), folder.held():
            work, resumed = folder.begin(stew, force=True)
            assert final_place(work.path) == folder.path
            write_text(work.path / "pots" / "1.txt", "half a stew")
            raise KeyboardInterrupt
        assert shown(folder) == before
    assert resumed == stew
    assert cook(folder, stew, force=True) == stew
    assert shown(folder)["pots/1.txt"] == "stew"
    assert cook(folder, stew) == stew


def test_a_replacement_whose_request_changes_begins_anew(folder):
    cook(folder, Request())
    with folder.held():
        work, _ = folder.begin(Request(dish="stew"), force=True)
        write_text(work.path / "pots" / "2.txt", "stew")
    cook(folder, Request(dish="curry"), force=True)
    assert set(shown(folder)) == {"pots/1.txt", "request.json"}


@pytest.mark.parametrize("kills", range(22))
def test_a_swap_that_is_killed_anywhere_is_finished_by_the_next_call(folder, monkeypatch, kills):
    cook(folder, Request())
    with folder.held():
        write_text(folder.path / "pots" / "9.txt", "of the soup alone")
    calls = []

    def dying(original):
        def change(*arguments, **options):
            calls.append(original)
            if len(calls) == kills + 1:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        return change

    with folder.held():
        work, _ = folder.begin(Request(dish="stew"), force=True)
        write_text(work.path / "pots" / "1.txt", "stew")
        write_text(work.path / "menu.html", "stew")
    with monkeypatch.context() as patch:
        for name in ("rename", "replace", "unlink", "rmdir", "mkdir"):
            patch.setattr(os, name, dying(getattr(os, name)))
        with suppress(KeyboardInterrupt), folder.held():
            work, _ = folder.begin(Request(dish="stew"), force=True)
            work.finish()
    assert len(calls) == kills + 1, "the test has to reach every change"
    cook(folder, Request(dish="stew"), force=True)
    assert {name: text for name, text in shown(folder).items() if name != "request.json"} == {
        "menu.html": "stew",
        "pots/1.txt": "stew",
    }
    assert Request.read(folder.record_path, OutputError) == Request(dish="stew")
    assert not {".new", ".swap"} & {path.name for path in folder.path.iterdir()}


def test_what_somebody_changed_is_kept_and_said(folder, capsys):
    cook(folder, Request())
    (folder.path / "pots" / "1.txt").write_text("my own soup")
    with pytest.raises(OutputError, match=r"1\.txt: changed since frazil cook wrote it; move it away"):
        folder.check()
    with unverified():
        assert folder.check() == []
    cook(folder, Request(dish="stew"), force=True)
    assert shown(folder)["pots/1.txt"] == "stew"
    assert shown(folder)["kept/pots/1.txt"] == "my own soup"
    assert "not as frazil wrote it" in capsys.readouterr().err
    (folder.path / "pots" / "1.txt").write_text("again")
    cook(folder, Request(dish="curry"), force=True)
    assert shown(folder)["kept/pots/1-1.txt"] == "again"


def test_a_folder_may_be_named_from_where_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    near = OutputFolder(Path("out"), "request.json", Request, owns=("pots/*.txt", "menu.html"))
    cook(near, Request())
    (near.path / "pots" / "1.txt").write_text("my own soup")
    cook(near, Request(dish="stew"), force=True)
    assert shown(near)["kept/pots/1.txt"] == "my own soup"


def test_what_is_not_replaced_by_a_file_of_the_same_name_stays_where_it_is(folder, capsys):
    cook(folder, Request())
    with folder.held():
        for number in (2, 3):
            write_text(folder.path / "pots" / f"{number}.txt", "more soup")
    (folder.path / "pots" / "2.txt").write_text("my own soup")
    cook(folder, Request(dish="stew"), force=True)
    assert {"pots/1.txt": "stew", "pots/2.txt": "my own soup"}.items() <= shown(folder).items()
    assert "pots/3.txt" not in shown(folder)
    assert "2.txt: not as frazil wrote it, so it is left there" in capsys.readouterr().err


def test_a_copy_is_as_frazil_wrote_it_and_a_link_is_not(folder, tmp_path):
    cook(folder, Request())
    pot = folder.path / "pots" / "1.txt"
    os.utime(pot, (1, 1))  # as a copy has it
    assert folder.check() == []
    elsewhere = tmp_path / "1.txt"
    pot.rename(elsewhere)
    assert folder.check() == ["pots/1.txt"]
    pot.symlink_to(elsewhere)
    cook(folder, Request(dish="stew"), force=True)
    assert elsewhere.read_text() == "soup"
    assert not pot.is_symlink()


def test_a_file_of_a_killed_process_is_known_and_what_it_left_half_written_goes(folder):
    cook(folder, Request())
    pot = folder.path / "pots" / "1.txt"
    with suppress(KeyboardInterrupt), folder.held():
        write_text(pot, "more")
        raise KeyboardInterrupt
    left = [folder.path / "pots" / name for name in (".2.txt.4711.partial", f".zarray.{'0' * 32}.partial", ".3.12.old")]
    mine = [folder.path / "pots" / name for name in (".notes", "4.partial")]
    for path in [*left, *mine]:
        path.write_text("half")
    with folder.held():
        assert folder.check() == []
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in mine)


def test_leftovers_of_a_command_that_works_in_a_folder_within_are_its_own(folder):
    inner = OutputFolder(folder.path / "inner", "request.json", Request, owns=())
    cook(folder, Request())
    with inner.held(), atomic_path(inner.path / "pot") as half:
        half.write_text("")
        with pytest.raises(KeyboardInterrupt), folder.held():
            raise KeyboardInterrupt
        with folder.held():
            pass
        assert half.exists()


def test_a_log_is_known_whatever_it_holds(folder):
    cook(folder, Request())
    with folder.held():
        log = folder.path / "log.txt"
        log.touch()
        enter(log, log, log=True)
        log.write_text("line")
    with folder.held():
        ledger = Ledger(folder.path)
        assert ledger.unchanged("log.txt")
        ledger.remove(["log.txt"])
    assert not log.exists()


@pytest.mark.parametrize("name", ["/etc/passwd", "../out.txt", "pots/../../x", "link/x", "a\0b"])
def test_a_name_that_leads_out_of_the_folder_is_not_believed(folder, tmp_path, name):
    folder.path.mkdir(parents=True)
    (folder.path / "link").symlink_to(tmp_path)
    assert not is_inside(folder.path, name)
    assert is_inside(folder.path, "pots/1.txt")
    (folder.path / ".written").mkdir()
    (folder.path / ".written/files.jsonl").write_text(json.dumps([name, 0, 0, None]) + "\n{\n")
    assert Ledger(folder.path).entries == {}


def test_a_lock_that_was_removed_by_whoever_held_it_is_made_anew(tmp_path):
    lock = tmp_path / ".lock"
    with locked(lock):
        lock.unlink()
        with locked(lock), pytest.raises(OutputError, match="another process"), locked(lock):
            pass


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with locked(tmp_path / ".lock"):
        assert "has no locks; run one command at a time there" in capsys.readouterr().err


def test_a_journal_that_is_a_device_is_not_read(folder):
    (folder.path / ".written").mkdir(parents=True)
    (folder.path / ".written" / "files.jsonl").symlink_to("/dev/zero")
    assert Ledger(folder.path).entries == {}
