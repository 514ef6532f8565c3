"""Importing copick through frazil leaves the program's logging alone."""

import subprocess
import sys


def test_the_root_logger_is_left_as_it_was():
    code = (
        "import logging; before = (logging.getLogger().level, len(logging.getLogger().handlers)); "
        "import frazil.io.copick.library; "
        "assert (logging.getLogger().level, len(logging.getLogger().handlers)) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
