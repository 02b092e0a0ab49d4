"""What `goodparts watch` shows while it runs: messages, and a table of how things stand."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from typing import TextIO


class Screen:
    """Shows messages and a table on a stream. For several threads.

    draws: whether the stream is a terminal of its own, on which the table stays below the messages and is written over
    itself; elsewhere, as in a journal or among JSON lines, the table is shown every QUIET seconds.
    """

    QUIET = 600.0

    def __init__(self, stream: TextIO, draws: bool) -> None:
        self._stream, self._draws = stream, draws
        self._table: list[str] = []
        self._lines_drawn = 0
        self._last_shown = time.monotonic()
        self._lock = threading.Lock()

    def print(self, message: str) -> None:
        """Show a message that stays."""
        with self._lock:
            self._write(f"{self._cleared()}{message}\n{self._drawn()}")

    def show(self, table: list[str]) -> None:
        """Show how things stand now."""
        with self._lock:
            if self._draws:
                self._table = table
                self._write(f"{self._cleared()}{self._drawn()}")
            elif time.monotonic() - self._last_shown >= self.QUIET:
                self._last_shown = time.monotonic()
                self._write("\n".join([*table, ""]))

    def _cleared(self) -> str:
        """Return what takes the table off a terminal."""
        lines, self._lines_drawn = self._lines_drawn, 0
        return f"\r\x1b[{lines}A\x1b[J" if lines else ""

    def _drawn(self) -> str:
        """Return the table, cut to the terminal: a line that wraps could not be taken off."""
        columns, rows = shutil.get_terminal_size()
        lines = [line[: columns - 1] for line in self._table[: max(1, rows - 2)]]
        self._lines_drawn = len(lines)
        return "".join(f"{line}\n" for line in lines)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # whoever looked has gone, or a disk is full: the line goes on
            self._stream.write(text)
            self._stream.flush()
