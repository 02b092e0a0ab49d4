"""Capture: a thread that takes a source's pictures, and the bounded queue they wait in."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ..core.errors import GoodpartsError, one_line
from ..core.preprocess import Array8
from .sources.source import Policy, Source

Report = Callable[[str], None]
"""Says one line to whoever looks after the line."""

WAITING = 4
"""Pictures that wait, where every one is inspected."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture on its way. number: from 0, of its source; time: when it came, in seconds since 1970; came: the same
    on time.perf_counter; pixels, path: see sources.Picture."""

    source: str
    number: int
    pixels: Array8 | GoodpartsError
    path: str | None
    time: float
    came: float


class FrameQueue:
    """Frames between capture and inspection, bounded by the source's policy."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.dropped = 0
        self._frames: deque[Frame] = deque()
        self._limit = 1 if policy == "newest" else WAITING
        self._closed = False
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> None:
        """Add a frame: at once by the policy newest; by every, when there is room. Nothing once it is closed."""
        with self._changed:
            if self.policy == "every":
                self._changed.wait_for(lambda: len(self._frames) < self._limit or self._closed)
            if self._closed:
                return
            if len(self._frames) == self._limit:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append(frame)
            self._changed.notify_all()

    def take(self) -> Frame | None:
        """The next frame, when there is one; None when the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed)
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """No more frames; those that wait can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Backoff:
    """How long to wait before the next try: twice as long each time, from `first` up to `longest` seconds."""

    def __init__(self, first: float, longest: float = 30.0) -> None:
        self._first, self._longest = first, longest
        self.failures = 0

    def next(self) -> float:
        self.failures += 1
        return min(self._longest, self._first * 2.0 ** min(self.failures - 1, 30))

    def reset(self) -> bool:
        """It works again; True when it did not before."""
        failed, self.failures = self.failures > 0, 0
        return failed


class Capture(threading.Thread):
    """Takes a source's pictures into its queue. A source that is lost is said once, and opened again and again.

    up: whether pictures are coming.
    """

    def __init__(
        self, name: str, source: Source, queue: FrameQueue, stop: threading.Event, report: Report, backoff: Backoff
    ) -> None:
        super().__init__(name=f"capture {name}", daemon=True)
        self.up = False
        self._label, self._source, self._queue = name, source, queue
        self._stopped, self._report, self._backoff = stop, report, backoff

    def run(self) -> None:
        number, said = 0, ""
        while not self._stopped.is_set():
            try:
                for picture in self._source.pictures(self._stopped, self._queue.policy == "newest"):
                    self.up = True
                    if self._backoff.reset():
                        self._report(f"{self._label}: pictures again")
                        said = ""
                    frame = Frame(self._label, number, picture.pixels, picture.path, time.time(), time.perf_counter())
                    self._queue.put(frame)
                    number += 1
                break
            except Exception as error:  # whatever a source does, the others go on
                self.up = False
                delay = self._backoff.next()
                line = one_line(error)
                if line != said:
                    self._report(f"{self._label}: {line}; tried again from {delay:g} s on")
                    said = line
                self._stopped.wait(delay)
        self.up = False
        self._queue.close()
