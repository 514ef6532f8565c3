"""Damaged input ends a command in one line. `make fuzz` tries thousands of cases; here are a few."""

import subprocess
import sys
from pathlib import Path

MUTATE = Path(__file__).with_name("mutate.py")
TARGETS = ["copick", "mrc", "star", "bundle", "requests", "preset"]


def test_commands_survive_what_they_read():
    command = [sys.executable, str(MUTATE), "--cases", "40", "--seed", "1", *TARGETS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 of 40 cases ended well" in done.stdout
