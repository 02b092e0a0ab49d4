"""A watchdog for sources whose reads may never come back, as a camera's driver or a network share can do.

FFmpeg's time-outs end a wait for the network; no time-out ends a system call that hangs. Such a thread cannot be ended
either, so it is left alone: another one opens the source again, and should the first wake up it finds itself given up.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

from ...core.errors import SourceError
from .source import Picture, Source

MOST = 3
"""Readers of one source that may hang at the same time; with so many, it is not opened again before one wakes up."""
_LOOK = 0.25
"""Seconds between two looks at whether the line stops."""

_Handed = queue.Queue[Picture | Exception | None]
"""A picture, what the source raised, or None at its end."""


class Watchdog:
    """A source read in a thread of its own, and given up when it has been silent for `patience` seconds without raising
    an error; patience: well above the source's own time-out, which says more. shown: what errors call the source."""

    def __init__(self, source: Source, patience: float, shown: str) -> None:
        self.default = source.default
        self._source, self._patience, self._shown = source, patience, shown
        self._hanging: list[threading.Thread] = []

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[Picture]:
        self._hanging = [reader for reader in self._hanging if reader.is_alive()]
        if len(self._hanging) >= MOST:
            raise SourceError(f"{self._shown}: {MOST} reads hang; waiting for one to come back: reset the device")
        handed: _Handed = queue.Queue(1)
        over = threading.Event()
        reader = threading.Thread(
            target=self._read, args=(handed, over, paced), name=f"read {self._shown}", daemon=True
        )
        reader.start()
        try:
            yield from self._take(handed, stop, reader)
        finally:
            over.set()

    def _read(self, handed: _Handed, over: threading.Event, paced: bool) -> None:
        last: Exception | None = None
        try:
            for picture in self._source.pictures(over, paced):
                _hand(handed, over, picture)
                if over.is_set():
                    return
        except Exception as error:  # raised again where it is waited for
            last = error
        _hand(handed, over, last)

    def _take(self, handed: _Handed, stop: threading.Event, reader: threading.Thread) -> Iterator[Picture]:
        last = time.monotonic()
        while not stop.is_set():
            try:
                item = handed.get(timeout=_LOOK)
            except queue.Empty:
                if time.monotonic() - last > self._patience:
                    self._hanging.append(reader)
                    raise SourceError(f"{self._shown}: a read hangs, given up after {self._patience:g} s") from None
                continue
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item
            last = time.monotonic()


def _hand(handed: _Handed, over: threading.Event, item: Picture | Exception | None) -> None:
    """Put an item when there is room; drop it once nobody takes any more."""
    while not over.is_set():
        try:
            handed.put(item, timeout=_LOOK)
            return
        except queue.Full:
            continue
