"""What the threads of a line have in common."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from .backoff import Backoff
from .messages import Report


@dataclass(frozen=True)
class LineContext:
    """What every thread of a line is given.

    report: takes a line of text about what happened; first_delay: seconds before the first new try of whatever fails;
    stop: set when the line is to end.
    """

    report: Report
    first_delay: float = 1.0
    stop: threading.Event = field(default_factory=threading.Event)

    def make_backoff(self) -> Backoff:
        """Return a new back-off for something that may fail."""
        return Backoff(self.first_delay)
