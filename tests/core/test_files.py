import errno
import subprocess
import sys
from pathlib import Path

import pytest

from frazil.core.errors import OutputError, StoreError
from frazil.core.files import (
    atomic_path,
    file_digest,
    locked,
    make_folder,
    output_errors,
    text_digest,
    write_json,
    write_text,
)
from frazil.core.reading import read_json


def test_a_file_appears_whole_and_replaces_the_old(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_replaces_a_full_one(tmp_path):
    path = tmp_path / "store"
    for name in ("old", "new"):
        with atomic_path(path) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [child.name for child in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("folder", [False, True])
def test_a_block_that_fails_leaves_the_old_and_nothing_else(tmp_path, folder):
    path = tmp_path / "a"
    write_text(path, "old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.mkdir() if folder else temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.ENAMETOOLONG, "choose a shorter one"),
        (errno.EIO, "cannot be written (said so); check the disk, or choose another folder"),
        (errno.ESTALE, "(said so)"),
        (errno.EFBIG, "(said so)"),
    ],
)
def test_what_the_system_says_becomes_one_line(tmp_path, monkeypatch, number, remedy, refuses):
    def fail(self, *args, **kwargs):
        raise OSError(number, "said so")

    monkeypatch.setattr(Path, "write_text", fail)
    with refuses(OutputError, "a.txt", remedy):
        write_text(tmp_path / "a.txt", "text")
    assert list(tmp_path.iterdir()) == []


def test_errors_without_a_number_are_one_line_too(tmp_path, refuses):
    with refuses(OutputError, "a.txt", "broken disk", "choose"), output_errors(tmp_path / "a.txt"):
        raise OSError("broken\ndisk")


def test_folders_that_cannot_be_written(tmp_path, monkeypatch, refuses):
    make_folder(tmp_path / "new")
    assert (tmp_path / "new").is_dir()
    (tmp_path / "file").write_text("")
    with refuses(OutputError, "file", "already exists"):
        make_folder(tmp_path / "file")
    with refuses(OutputError, "below", "a file, not a folder"):
        make_folder(tmp_path / "file" / "below")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with refuses(OutputError, "new", "permission denied", "may write to"):
        make_folder(tmp_path / "new")


def test_json_is_read_back_and_has_no_nan(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": [1, 2.5, None]})
    assert read_json(path, StoreError) == {"a": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, float("nan"))


def test_json_that_cannot_be_read(tmp_path, refuses):
    with refuses(StoreError, "absent.json", "no such file", "check the path"):
        read_json(tmp_path / "absent.json", StoreError)
    with refuses(StoreError, "cannot be read", "check the path"):
        read_json(tmp_path / ("x" * 300), StoreError)
    for content in (b"{", b"\xff\xfe", b"[" * 100_000):
        (tmp_path / "bad.json").write_bytes(content)
        with refuses(StoreError, "bad.json", "not valid JSON", "repair"):
            read_json(tmp_path / "bad.json", StoreError)
    for content, kind in (("[]", "list"), ('"a"', "str"), ("null", "NoneType")):
        (tmp_path / "bad.json").write_text(content)
        with refuses(StoreError, "bad.json", kind, "instead of a JSON object", "repair"):
            read_json(tmp_path / "bad.json", StoreError)


def test_digests(tmp_path):
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (tmp_path / "empty").write_bytes(b"")
    assert file_digest(tmp_path / "empty") == text_digest("") == empty


def test_a_folder_is_held_by_one_process_and_let_go_by_a_kill(tmp_path, refuses):
    code = (
        "import sys; from pathlib import Path; from frazil.core.files import locked\n"
        "with locked(Path(sys.argv[1]) / '.lock'): print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with (
            refuses(OutputError, str(tmp_path), "another process works here", "choose another folder"),
            locked(tmp_path / ".lock"),
        ):
            pass
        other.kill()
    with locked(tmp_path / ".lock"):
        pass


@pytest.mark.parametrize("wait", [False, True])
def test_what_fails_while_a_folder_is_held_is_not_blamed_on_it(tmp_path, wait):
    with pytest.raises(FileNotFoundError, match=r"elsewhere\.mrc"), locked(tmp_path / ".lock", wait=wait):
        (tmp_path / "elsewhere.mrc").read_bytes()
    with pytest.raises(OutputError, match="no_folder"), locked(tmp_path / "no_folder" / ".lock", wait=wait):
        pass
