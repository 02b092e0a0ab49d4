"""Capture: a thread that takes a source's pictures into its queue."""

from __future__ import annotations

import threading
import time

from ..core.errors import one_line
from .context import LineContext
from .frames import Frame, FrameQueue
from .sources.source import Source


class Capture(threading.Thread):
    """Takes a source's pictures into its queue. A source that is lost is reported once, and opened again and again.

    up: whether pictures are coming; error: why they are not, in one line, empty where nothing is known; ended: whether
    the source has given its last picture.
    """

    def __init__(self, source_name: str, source: Source, queue: FrameQueue, context: LineContext) -> None:
        super().__init__(name=f"capture {source_name}", daemon=True)
        self.up = self.ended = False
        self.error = ""
        self._source_name, self._source, self._queue = source_name, source, queue
        self._context, self._backoff = context, context.make_backoff()

    def run(self) -> None:
        stop, report = self._context.stop, self._context.report
        number, reported = 0, ""
        while not stop.is_set():
            try:
                for picture in self._source.pictures(stop, self._queue.policy == "newest"):
                    self.up, self.error = True, ""
                    if self._backoff.reset():
                        report(f"{self._source_name}: pictures again")
                        reported = ""
                    self._queue.put(
                        Frame(self._source_name, number, picture.pixels, picture.path, time.time(), time.perf_counter())
                    )
                    number += 1
                self.ended = not stop.is_set()
                break
            except Exception as error:  # whatever a source does, the others go on
                self.up = False
                delay = self._backoff.next()
                self.error = message = one_line(error)
                if message != reported:
                    report(f"{self._source_name}: {message}; tried again from {delay:g} s on")
                    reported = message
                stop.wait(delay)
        self.up = False
        self._queue.close()
