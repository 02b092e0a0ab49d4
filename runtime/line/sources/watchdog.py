"""A watchdog for sources whose reads may never return, as with a faulty camera driver or network share.

FFmpeg's time-outs end a wait for the network, but no time-out ends a system call that hangs. The thread of such a call
cannot be ended, so another thread opens the source again. If the first thread wakes up, its pictures are dropped.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

from ...core.errors import SourceError
from .source import Source, SourceEvent, SourcePicture

MOST_HANGING = 3
"""The most readers of a source that may hang at once. While so many hang, the source is not opened again."""
_LOOK = 0.25
"""Seconds between two checks of whether the line stops."""

_Item = SourcePicture | SourceEvent | Exception | None
"""A picture, an event, an exception that the source raised, or None at its end."""


class Watchdog:
    """A source that is read in a thread of its own, and given up when it hangs.

    Args:
        source: The source to read.
        patience: Seconds without a picture, an event or an error after which the source counts as hanging. This should
            be well above the source's own time-out, whose error tells more.
        shown_address: The name of the source in errors, without secrets.
    """

    def __init__(self, source: Source, patience: float, shown_address: str) -> None:
        self.default_policy = source.default_policy
        self._source, self._patience, self._address = source, patience, shown_address
        self._hanging: list[threading.Thread] = []

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture | SourceEvent]:
        self._hanging = [reader for reader in self._hanging if reader.is_alive()]
        if len(self._hanging) >= MOST_HANGING:
            raise SourceError(
                f"{self._address}: {MOST_HANGING} reads hang; waiting for one to come back: reset the device"
            )
        items: queue.Queue[_Item] = queue.Queue(1)
        over = threading.Event()
        reader = threading.Thread(
            target=self._read, args=(items, over, paced), name=f"read {self._address}", daemon=True
        )
        reader.start()
        try:
            yield from self._take(items, stop, reader)
        finally:
            over.set()

    def _read(self, items: queue.Queue[_Item], over: threading.Event, paced: bool) -> None:
        last: Exception | None = None
        try:
            for picture in self._source.pictures(over, paced):
                _hand(items, over, picture)
                if over.is_set():
                    return
        except Exception as error:  # _take raises it again
            last = error
        _hand(items, over, last)

    def _take(
        self, items: queue.Queue[_Item], stop: threading.Event, reader: threading.Thread
    ) -> Iterator[SourcePicture | SourceEvent]:
        last = time.monotonic()
        while not stop.is_set():
            try:
                item = items.get(timeout=_LOOK)
            except queue.Empty:
                if time.monotonic() - last > self._patience:
                    self._hanging.append(reader)
                    raise SourceError(f"{self._address}: a read hangs, given up after {self._patience:g} s") from None
                continue
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item
            last = time.monotonic()


def _hand(items: queue.Queue[_Item], over: threading.Event, item: _Item) -> None:
    """Put an item into the queue when there is room; drop it once `over` is set."""
    while not over.is_set():
        try:
            items.put(item, timeout=_LOOK)
            return
        except queue.Full:
            continue
