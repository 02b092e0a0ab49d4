"""Printing lines that hold text from elsewhere, as names of files and reports of libraries; asking at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TextIO

from ..core.files import visible


def print_lines(lines: Iterable[str], file: TextIO | None = None) -> None:
    """Print lines, each of which stays one: whatever would break or steer it on a terminal is escaped.

    file: the stream; None is standard output.
    """
    for line in lines:
        print(visible(line), file=file)


def ask(question: str) -> bool:
    """Ask a yes-or-no question at a terminal; return False where standard input is none."""
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
