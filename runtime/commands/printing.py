"""Printing lines that hold text from elsewhere: names of files and products, reports of libraries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from ..core.files import visible


def print_lines(lines: Iterable[str], file: TextIO | None = None) -> None:
    """Print lines, each of which stays one: whatever would break or steer it on a terminal is escaped.

    file: the stream; None is standard output.
    """
    for line in lines:
        print(visible(line), file=file)
