"""What the tests of workflows share: the command line."""

import sys

import pytest

from frazil import cli


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs `frazil ...` and gives exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["frazil", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return run
