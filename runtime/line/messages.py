"""Messages about a line's events: each is passed on at once, and the last ones are kept."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .redact import Redactor

Report = Callable[[str], None]
"""Receives one line of text about an event, for the person who looks after the line."""

KEPT = 50
"""The number of messages that are kept."""


class Message(NamedTuple):
    """A line of text without secrets, and its age in seconds."""

    age: float
    text: str


class Messages:
    """Passes each message on and keeps the last KEPT, without the secrets of addresses. It is thread-safe.

    Args:
        report: Receives each message.
        redactor: Removes the secrets of the line's addresses.
    """

    def __init__(self, report: Report, redactor: Redactor) -> None:
        self._report, self._redactor = report, redactor
        self._lock = threading.Lock()
        self._kept: deque[tuple[float, str]] = deque(maxlen=KEPT)

    def report(self, text: str) -> None:
        """Remove the secrets from a message, keep it and pass it on.

        Args:
            text: The message, in one line.
        """
        shown = self.redact(text)
        with self._lock:
            self._kept.append((time.monotonic(), shown))
        self._report(shown)

    def redact(self, text: str) -> str:
        """Return a text without the secrets of the line's addresses.

        Args:
            text: Any text.
        """
        return self._redactor.redact(text)

    def newest_first(self) -> list[Message]:
        """Return the kept messages, newest first."""
        now = time.monotonic()
        with self._lock:
            return [Message(now - moment, text) for moment, text in reversed(self._kept)]
