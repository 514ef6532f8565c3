import os
import sys

import pytest

from frazil.core.console import say, warn
from frazil.core.log import LOG, logged_command, logged_in, note


def said(folder):
    return [line.split("] ", 1)[1] for line in (folder / LOG).read_text().splitlines()]


def test_a_command_logs_what_it_said_before_it_had_a_folder(tmp_path, capsys):
    with logged_command("frazil test"):
        say("before")
        with logged_in(tmp_path):
            warn("during\nit")
        say("after")
    say("later")
    lines = said(tmp_path)
    assert lines[:2] == ["$ frazil test", "before"]
    assert lines[-3:] == ["warning: during", "it", "after"]


def test_python_logs_while_it_holds_a_folder(tmp_path, capsys):
    say("before")
    for _ in range(2):
        with logged_in(tmp_path):
            say("during")
    say("after")
    assert said(tmp_path).count("frazil in Python") == said(tmp_path).count("during") == 2
    assert not {"before", "after"} & {*said(tmp_path)}


def test_a_folder_in_a_folder_has_no_log_of_its_own(tmp_path):
    (tmp_path / "inner").mkdir()
    with logged_in(tmp_path), logged_in(tmp_path / "inner"):
        note("here")
    assert said(tmp_path)[-1] == "here"
    assert not (tmp_path / "inner" / LOG).exists()


def test_an_error_is_logged_with_where_it_arose(tmp_path):
    with pytest.raises(ValueError, match="wrong"), logged_in(tmp_path):
        raise ValueError("wrong")
    assert said(tmp_path)[-1] == "ValueError: wrong"
    assert any("test_log.py" in line for line in said(tmp_path))


@pytest.mark.parametrize("there", ["folder", "pipe", "device"])
def test_a_log_that_cannot_be_written_stops_nothing(tmp_path, there):
    if there == "folder":
        (tmp_path / LOG).mkdir()
    elif there == "pipe":
        os.mkfifo(tmp_path / LOG)
    else:
        (tmp_path / LOG).symlink_to("/dev/full")
    with logged_in(tmp_path):
        note("here")
    assert sys.exc_info() == (None, None, None)
