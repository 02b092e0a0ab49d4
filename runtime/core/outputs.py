"""The rule for which files a command may replace: earlier results of the same kind, and no file of another kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from .errors import FileError
from .files import printable, reading, require_folder_of
from .image_files import is_marked

OutputKind = Literal["recipe", "HTML page", "picture", "JSON lines"]

_HEAD = 512
"""The kind of a file is told from this many bytes at its start."""
_BEGINNINGS: Mapping[OutputKind, re.Pattern[bytes]] = {
    "recipe": re.compile(rb'.{8}\{"__metadata__":\{"goodparts"', re.DOTALL),
    "HTML page": re.compile(rb"<!doctype html", re.IGNORECASE),
    "JSON lines": re.compile(rb'\{"(path|source)":'),
}


def require_output(path: Path, kind: OutputKind) -> None:
    """Check that `path` can be written, and that no file of another kind is lost by it.

    Call this before slow work whose result goes there. A file that is there already must be empty or of the same kind:
    a recipe, a page, a picture that goodparts drew, or JSON lines.

    Args:
        path: The file to be written later.
        kind: What is written.

    Raises:
        FileError: The file is of another kind, or cannot be written (`require_folder_of`).
    """
    require_folder_of(path)
    if path.exists():
        require_kind(path, kind)


def require_kind(path: Path, kind: OutputKind) -> None:
    """Check that a file is empty or an earlier result of this kind.

    Args:
        path: The file.
        kind: What is written.

    Raises:
        FileError: The file is of another kind, or cannot be read.
    """
    with reading(path) as file:
        head = file.read(_HEAD)
    if head and not (is_marked(head) if kind == "picture" else _BEGINNINGS[kind].match(head) or _is_cut_line(head)):
        what = {"picture": "picture that goodparts drew", "JSON lines": "JSON lines file"}.get(kind, kind)
        raise FileError(
            f"{printable(path)} is no {what}, so nothing is written there: name another file, or remove this one"
        )


def _is_cut_line(head: bytes) -> bool:
    """Return whether a file is only half a JSON line with zeros behind it, which a power cut can leave."""
    text = head.rstrip(b"\0")
    return len(head) < _HEAD and any(begin.startswith(text) for begin in (b'{"path":', b'{"source":'))
