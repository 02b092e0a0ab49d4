"""What happens to a line, as lines of text: passed on at once, the last of them kept."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .redact import Redactor

Report = Callable[[str], None]
"""Takes one line of text about what happened, for whoever looks after the line."""

KEPT = 50


class Message(NamedTuple):
    """A line of text without secrets, and its age in seconds."""

    age: float
    text: str


class Messages:
    """Passes each message on and keeps the last KEPT, without the secrets of addresses. For several threads.

    report: takes each message; redactor: knows the secrets of the line's addresses.
    """

    def __init__(self, report: Report, redactor: Redactor) -> None:
        self._report, self._redactor = report, redactor
        self._lock = threading.Lock()
        self._kept: deque[tuple[float, str]] = deque(maxlen=KEPT)

    def report(self, text: str) -> None:
        """Keep a message and pass it on."""
        shown = self.redact(text)
        with self._lock:
            self._kept.append((time.monotonic(), shown))
        self._report(shown)

    def redact(self, text: str) -> str:
        """Return a text without the secrets of the line's addresses."""
        return self._redactor.redact(text)

    def newest_first(self) -> list[Message]:
        """Return the kept messages."""
        now = time.monotonic()
        with self._lock:
            return [Message(now - moment, text) for moment, text in reversed(self._kept)]
