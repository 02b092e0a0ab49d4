"""Shows messages and a table of the sources while `goodparts watch` runs."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from typing import TextIO


class Screen:
    """Shows messages and a table on a stream. Several threads may use it.

    Args:
        stream: The stream that it writes to.
        draws: Whether the stream is a terminal that nothing else writes to. There the table stays below the messages
            and is updated in place. Elsewhere, such as in a journal, the table is written every QUIET seconds.
    """

    QUIET = 600.0
    """Seconds between two tables on a stream that is not drawn on."""

    def __init__(self, stream: TextIO, draws: bool) -> None:
        self._stream, self._draws = stream, draws
        self._table: list[str] = []
        self._lines_drawn = 0
        self._last_shown = time.monotonic()
        self._lock = threading.Lock()

    def print(self, message: str) -> None:
        """Write a message above the table.

        Args:
            message: The message, one line without its end.
        """
        with self._lock:
            self._write(f"{self._cleared()}{message}\n{self._drawn()}")

    def show(self, table: list[str]) -> None:
        """Show the present table.

        Args:
            table: Its lines, without line ends.
        """
        with self._lock:
            if self._draws:
                self._table = table
                self._write(f"{self._cleared()}{self._drawn()}")
            elif time.monotonic() - self._last_shown >= self.QUIET:
                self._last_shown = time.monotonic()
                self._write("\n".join([*table, ""]))

    def _cleared(self) -> str:
        """Return the control sequence that removes the table from a terminal."""
        lines, self._lines_drawn = self._lines_drawn, 0
        return f"\r\x1b[{lines}A\x1b[J" if lines else ""

    def _drawn(self) -> str:
        """Return the table, cut to the terminal, because `_cleared` cannot remove a line that wraps."""
        columns, rows = shutil.get_terminal_size()
        lines = [line[: columns - 1] for line in self._table[: max(1, rows - 2)]]
        self._lines_drawn = len(lines)
        return "".join(f"{line}\n" for line in lines)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # The terminal is gone or the disk is full; the line goes on.
            self._stream.write(text)
            self._stream.flush()
