"""A Griffe extension for docstrings that say a parameter in one line: `name : what it is.`

numpydoc takes what follows the colon for a type. Types stand in the signature here, so the sentence becomes the description. Fields of
a settings class are its attributes, and their defaults are shown.
"""

from __future__ import annotations

import ast
import re
import textwrap
from typing import Any

import griffe

SECTION = re.compile(r"^(Parameters|Returns|Yields|Raises|Attributes)\n-+\n(.*?)(?=\n\n\S|\Z)", re.M | re.S)
ITEM = re.compile(r"^(?! )([\w*, ]+?) : (.*)$", re.M)


class Sentences(griffe.Extension):
    """Move each one-line description below its name."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite a docstring, once the whole object is known."""
        if obj.docstring is None:
            return
        fields = isinstance(obj, griffe.Class) and "__init__" not in obj.members

        def described(section: re.Match[str]) -> str:
            title, body = section[1], section[2]
            if title == "Returns" and not ITEM.match(body):
                items = f":\n{textwrap.indent(body, '    ')}"  # a sentence: no name, and the type is in the signature
            elif title == "Raises":
                items = ITEM.sub(lambda item: "\n".join(f"{name}\n    {item[2]}" for name in item[1].split(", ")), body)
            elif title == "Parameters" and fields:
                title, items = "Attributes", ITEM.sub(lambda item: _fields(obj, item), body)
            else:
                items = ITEM.sub(r"\1\n    \2", body)
            return f"{title}\n{'-' * len(title)}\n{items}"

        obj.docstring.value = SECTION.sub(described, obj.docstring.value)


def _fields(owner: griffe.Object, item: re.Match[str]) -> str:
    """Describe one or several fields."""
    *others, last = [name.strip() for name in item[1].split(",")]
    continues = item.string[item.end() :].startswith("\n ")
    same = f"see `{last}`" if continues else item[2]
    return "".join(f"{name}\n    {_default(owner, name)}{same}\n" for name in others) + (
        f"{last}\n    {_default(owner, last)}{item[2]}"
    )


def _default(owner: griffe.Object, name: str) -> str:
    value = getattr(owner.members.get(name), "value", None)
    if value is None:
        return ""
    tree = ast.parse(str(value), mode="eval").body
    if isinstance(tree, ast.Call) and ast.unparse(tree.func) == "Field":
        if not tree.args:
            return ""
        tree = tree.args[0]
    return f"(default `{ast.unparse(tree)}`) "
