"""The GPU benchmark runs through on a CPU, and what it computes there is right."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.timeout(900)
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: run the benchmark itself")
def test_the_tables_are_whole(tmp_path):
    command = [sys.executable, str(SCRIPT), "--tiny", "--out", str(tmp_path / "gpu.md")]
    subprocess.run(command, check=True, capture_output=True, timeout=840)
    text = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "no GPU at hand" in text
    assert text.count("(right") == 6
    assert "WRONG" not in text
    assert "no time left" not in text
    rows = [line for line in text.splitlines() if line.startswith(("| paper,", "| fast,", "| layout,"))]
    assert len(rows) == 6
    assert not any("fails" in row for row in rows)
    assert "| 12 evaluations |" in text
