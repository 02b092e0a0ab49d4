"""MkDocs hooks: pages from outside docs/, links that leave it, and the reference of the commands.

README.md is the start page. A page may link to any file of the repository, as it does on the repository's own pages:
the file is added to the site, with what it links to. A link to a folder becomes its text.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path

from goodparts.benchmarks.command import BENCHMARKS, COMPARE
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from goodparts import cli

ROOT = Path(__file__).parents[2]
DOCS = Path("docs")
START = {"README.md": "index.md"}
"""Files of the repository that have another name on the site."""
ALSO = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
"""Pages other than those in docs/ and the start page."""
_LINK = re.compile(r"(!?)\[((?:[^][]|\[[^]]*\]\([^)]*\))*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere, and everything that a page links to."""
    waiting = [Path(name) for name in (*START, *ALSO)] + [DOCS / file.src_uri for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        if not path.is_relative_to(DOCS):
            files.append(File.generated(config, site_uri(path), abs_src_path=str(ROOT / path)))
        if path.suffix == ".md":
            linked = {target for target in _targets(path) if (ROOT / target).is_file()} - seen
            seen |= linked
            waiting += sorted(target for target in linked if not target.is_relative_to(DOCS))
    files.append(File.generated(config, "reference/cli.md", content=describe_commands()))
    return files


def on_page_markdown(markdown: str, page: object, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Replace a page's links with the site's."""
    uri: str = page.file.src_uri  # type: ignore[attr-defined]
    path = next((Path(name) for name, site in START.items() if site == uri), None) or Path(uri)
    if (ROOT / DOCS / uri).is_file() and uri not in START.values():
        path = DOCS / uri

    def replace(match: re.Match[str]) -> str:
        bang, text, link, anchor = match.groups()
        target = _resolve(path, link)
        if (ROOT / target).is_dir():
            return text
        return f"{bang}[{text}]({os.path.relpath(site_uri(target), Path(uri).parent)}{anchor or ''})"

    return _LINK.sub(replace, markdown)


def site_uri(path: Path) -> str:
    """Return the path of a repository's file on the site."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    return START.get(path.as_posix(), path.as_posix())


def _targets(path: Path) -> set[Path]:
    text = (ROOT / path).read_text(encoding="utf-8")
    return {_resolve(path, match[3]) for match in _LINK.finditer(text)}


def _resolve(page: Path, link: str) -> Path:
    """Return the file of the repository that a page's link names."""
    return Path(os.path.normpath(page.parent / link))


def describe_commands() -> str:
    """Return a page with the whole help of every command and benchmark."""
    os.environ["COLUMNS"] = "100"
    parts = ["# Commands\n\nThis page is generated from the commands' help.\n"]
    for name in cli.COMMANDS:
        also = "`train-and-export` is the same command.\n\n" if name == "train" else ""
        parts.append(f"## goodparts {name}\n\n{also}{_help(name)}")
    parts += [f"### goodparts bench {name}\n\n{_help('bench', name)}" for name in [*BENCHMARKS, COMPARE]]
    return "\n".join(parts)


def _help(*command: str) -> str:
    """Return the whole help of a command as a block of text."""
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        cli.main([*command, "--help-all"])
    return f"```text\n{text.getvalue()}```\n"
