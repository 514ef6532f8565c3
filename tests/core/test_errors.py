"""Messages are read by people at a terminal and in Python, so they name settings in words."""

import ast
import re
from pathlib import Path

import frazil

SOURCE = Path(frazil.__file__).parent
COMMANDS = r"frazil \w+ --\w+|(tensorboard|sbatch|copick add) [^,;]*"


def texts(path):
    """Yield what the strings of a file say; docstrings are for programmers."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | parts:
            yield node.value


def test_an_option_is_named_with_what_it_is_in_python():
    files = [path for path in SOURCE.rglob("*.py") if "cli" not in path.relative_to(SOURCE).parts]
    found = [text for path in files for text in texts(path) if "--" in text]
    assert len(found) > 5
    for text in found:
        assert not re.search(r"--[a-zX][\w-]*(?! \(in Python: )\b(?![\w-])", re.sub(COMMANDS, "", text)), text
