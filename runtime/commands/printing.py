"""Prints lines that hold foreign text, such as file names and messages of libraries, and asks at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TextIO

from ..core.files import visible


def print_lines(lines: Iterable[str], file: TextIO | None = None) -> None:
    """Print lines, with every character escaped that would break the line or control the terminal.

    Args:
        lines: The lines, without line ends.
        file: The stream; None is standard output.
    """
    for line in lines:
        print(visible(line), file=file)


def ask(question: str) -> bool:
    """Ask a yes-or-no question at the terminal.

    Args:
        question: The question, with its question mark.

    Returns:
        Whether the answer is yes; False if standard input is no terminal.
    """
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
