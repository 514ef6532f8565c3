"""MkDocs hooks: pages that are made from the code and from other files, so that no fact is written twice.

- `<!-- commands -->` becomes the reference of the command line, read from the Typer application.
- `<!-- include FILE -->` becomes a file of the repository (changelog, model card).
- Links that work in the repository, to such files and to notebooks, become links of the site.
- Each `notebooks/NAME.ipynb` becomes a page, and stays next to it as a download.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
WORKER = "https://unpkg.com/iframe-worker/shim"
DOCS = ROOT / "docs"
PAGES = {
    ROOT / "README.md": DOCS / "index.md",
    ROOT / "CHANGELOG.md": DOCS / "changelog.md",
    ROOT / "CONTRIBUTING.md": DOCS / "contributing.md",
    ROOT / "src/frazil/pretrained/MODEL_CARD.md": DOCS / "reference/model-card.md",
}
INCLUDE = re.compile(r"<!-- include (\S+) -->")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        page = notebook.src_uri.removesuffix(".ipynb") + ".md"
        text = notebook_page(json.loads(Path(str(notebook.abs_src_path)).read_text()), Path(notebook.src_uri).name)
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the command line and included files, and turn links into the repository into links of the site."""
    markdown = markdown.replace("<!-- commands -->", "\n".join(command_reference()), 1)
    include = INCLUDE.search(markdown)
    source = ROOT / include[1] if include else DOCS / page.file.src_uri
    return site_links(source.read_text() if include else markdown, source.parent, page.file.src_uri)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Load the script that makes search work from disk from the site itself, not from the network."""
    return output.replace(WORKER, "../" * page.file.src_uri.count("/") + "vendor/iframe-worker.js")


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """The same for the page that is shown when a page is missing."""
    return output_content.replace(WORKER, "/vendor/iframe-worker.js")


def site_links(text: str, folder: Path, page: str) -> str:
    """Return a text of the repository with its links as the site has them.

    Parameters
    ----------
    folder : what the links are relative to.
    page : where the text stands in the site.
    """

    def link(match: re.Match[str]) -> str:
        words, (path, hash_sign, anchor) = match[1], match[2].partition("#")
        if not path or re.match("[a-z]+:", path):
            return match[0]
        target = (folder / path).resolve()
        if target in PAGES:
            target = PAGES[target]
        elif target.parent == DOCS / "notebooks" and folder != target.parent:
            target = target.with_suffix(".md")
        if not target.is_relative_to(DOCS):
            return words
        return f"[{words}]({os.path.relpath(target, (DOCS / page).parent)}{hash_sign}{anchor})"

    return LINK.sub(link, text)


def notebook_page(notebook: dict[str, Any], name: str) -> str:
    """Return a notebook without outputs as Markdown."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    title, _, rest = parts[0].partition("\n")
    parts[0] = f"{title}\n\n*[Download this notebook]({name}) and run it in Jupyter.*\n{rest}"
    return "\n\n".join(parts) + "\n"


def command_reference() -> Iterator[str]:
    """Yield the Markdown lines of every command."""
    from frazil.cli.app import app

    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        arguments = [param for param in command.params if param.param_type_name == "argument"]
        options = [param for param in command.params if param.param_type_name == "option" and not param.hidden]
        usage = " ".join(_argument(param) for param in arguments)
        required = " ".join(f"{param.opts[0]} {_kind(command, param)}" for param in options if param.required)
        yield from (f"## frazil {name}", "", _plain(inspect.cleandoc(command.help)), "")
        yield from ("```", " ".join(f"frazil {name} {usage} {required} [OPTIONS]".split()), "```", "")
        if arguments:
            yield from ("| Arguments | | default |", "|---|---|---|")
            yield from (f"| `{_argument(param)}` | {_plain(param.help)} | {_default(param)} |" for param in arguments)
            yield ""
        panels = dict.fromkeys(_panel(param) for param in options)
        for panel in panels:
            yield from (f"| {panel} | | default |", "|---|---|---|")
            for param in (param for param in options if _panel(param) == panel):
                flags = ", ".join(f"`{flag}`" for flag in (*param.opts, *param.secondary_opts))
                yield f"| {flags} {_kind(command, param)} | {_plain(param.help)} | {_default(param)} |"
            yield ""


def _panel(param: Any) -> str:
    return param.rich_help_panel or "Options"


def _argument(param: Any) -> str:
    return param.metavar or param.name.upper()


def _kind(command: Any, param: Any) -> str:
    """Return what an option takes: its metavar, or a word for its type; nothing for a flag."""
    if param.is_flag:
        return ""
    if param.metavar:
        return param.metavar
    hint = typing.get_type_hints(command.callback)[param.name]
    names = {kind.__name__ for kind in (hint, *typing.get_args(hint)) if isinstance(kind, type)}
    words = {"int": "N", "float": "NUMBER", "Path": "PATH"}
    return next((word for name, word in words.items() if name in names), "TEXT")


def _default(param: Any) -> str:
    if param.required:
        return "*required*"
    shown = re.search(r"\\\[default: (.*?)\]", param.help or "")
    if shown:
        return shown[1]
    if param.default is None or param.default is False or param.default in ((), []) or callable(param.default):
        return ""
    return f"`{param.opts[0]}`" if param.default is True else f"`{param.default}`"


def _plain(text: str | None) -> str:
    """Turn Rich markup into Markdown, and keep a table's cells whole."""
    text = re.sub(r"\s*\[dim\]\\\[default: .*?\]\[/dim\]", "", text or "")
    text = re.sub(r"\[bold\](.*?)\[/bold\]", r"`\1`", text).replace("\\[", "[")
    return text.replace("|", "\\|").strip()
