"""The capture: a thread that puts a source's pictures into its queue."""

from __future__ import annotations

import threading
import time

from ..core.errors import one_line
from .context import LineContext
from .frames import Frame, FrameQueue
from .meter import Meter
from .sources.source import Source, SourceEvent, SourcePicture


class Capture(threading.Thread):
    """Puts a source's pictures into its queue. A source that is lost is reported once, and opened again with back-off.

    Args:
        source_name: The name of the source.
        source: The source to read.
        queue: Receives its pictures as frames.
        meter: Counts the pictures that were lost on the way.
        context: The context that the line's threads share.

    Attributes:
        up: Whether pictures arrive.
        error: The reason why no pictures arrive, in one line; empty if there is none.
        ended: Whether the source has given its last picture.
    """

    def __init__(self, source_name: str, source: Source, queue: FrameQueue, meter: Meter, context: LineContext) -> None:
        super().__init__(name=f"capture {source_name}", daemon=True)
        self.up = self.ended = False
        self.error = ""
        self._source_name, self._source, self._queue, self._meter = source_name, source, queue, meter
        self._context, self._backoff = context, context.make_backoff()
        self._next_number = self._pictures = 0
        self._reported_error = ""

    def run(self) -> None:
        stop = self._context.stop
        while not stop.is_set():
            try:
                for item in self._source.pictures(stop, self._queue.policy == "newest"):
                    if isinstance(item, SourceEvent):
                        self._note(item)
                    else:
                        self._take(item)
                if not stop.is_set():
                    self.ended = True
                    self._report(f"finished after {self._pictures} picture{'' if self._pictures == 1 else 's'}")
                break
            except Exception as error:  # a failing source must not end its thread
                self.up = False
                delay = self._backoff.next()
                self.error = message = one_line(error)
                if message != self._reported_error:
                    self._report(f"{message}; will keep trying, first in {delay:g} s")
                    self._reported_error = message
                stop.wait(delay)
        self.up = False
        self._queue.close()

    def _take(self, picture: SourcePicture) -> None:
        self.up, self.error = True, ""
        if self._backoff.reset():
            self._report("pictures arrive again")
            self._reported_error = ""
        now, arrival = time.time(), time.perf_counter()
        self._queue.put(
            Frame(
                self._source_name,
                self._next_number,
                picture.pixels,
                picture.path,
                now,
                arrival,
                picture.file,
                picture.yuv,
            )
        )
        self._next_number += 1
        self._pictures += 1

    def _note(self, event: SourceEvent) -> None:
        """Count the pictures that were lost, which have numbers too, and report the event's message."""
        self._meter.add_failed(event.failed)
        self._next_number += event.failed
        if event.message is not None:
            self._report(event.message)

    def _report(self, message: str) -> None:
        self._context.report(f"{self._source_name}: {message}")
