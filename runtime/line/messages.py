"""What happens to a line, as lines of text: passed on at once, the last of them kept."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .redact import redact_text

Report = Callable[[str], None]
"""Takes one line of text about what happened, for whoever looks after the line."""

KEPT = 50


class Message(NamedTuple):
    """A line of text without secrets, and its age in seconds."""

    age: float
    text: str


class Messages:
    """Passes each message on and keeps the last KEPT. For several threads.

    report: takes each message as it came; the kept ones have no user names, passwords and queries in their addresses.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._kept: deque[tuple[float, str]] = deque(maxlen=KEPT)

    def report(self, text: str) -> None:
        """Keep a message and pass it on."""
        with self._lock:
            self._kept.append((time.monotonic(), redact_text(text)))
        self._report(text)

    def newest_first(self) -> list[Message]:
        """Return the kept messages."""
        now = time.monotonic()
        with self._lock:
            return [Message(now - moment, text) for moment, text in reversed(self._kept)]
