"""The context that the threads of a line share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from .backoff import Backoff
from .messages import Report


@dataclass(frozen=True)
class LineContext:
    """The report function, the back-off and the stop event of a line.

    Attributes:
        report: Receives one line of text about each event.
        first_delay: The delay from a first failure to the first retry, in seconds.
        stop: Set when the line is to end.
    """

    report: Report
    first_delay: float = 1.0
    stop: threading.Event = field(default_factory=threading.Event)

    def make_backoff(self) -> Backoff:
        """Return a new back-off for something that may fail."""
        return Backoff(self.first_delay)
