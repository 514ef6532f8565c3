"""A command that is killed and run again ends as if undisturbed. `make faults` tries all changes of all commands; here are a few."""

import subprocess
import sys
from pathlib import Path

import pytest

INJECT = Path(__file__).with_name("inject.py")
COMMANDS = ["curate --force", "sample --force", "import-weights", "simulate --force"]


@pytest.mark.timeout(900)  # on a machine that does much else
def test_killed_commands_end_as_if_undisturbed():
    command = [sys.executable, str(INJECT), "--points", "2", "--seed", "1", *COMMANDS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=840, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kill: 8 of 8 were as if undisturbed" in done.stdout
