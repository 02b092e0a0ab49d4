"""The live picture: frames of the source that was chosen, of which the last few can still be collected."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import GoodpartsError, SettingsError
from ..core.preprocess import Array8
from ..line.capture import Capture
from ..line.context import LineContext
from ..line.frames import FrameQueue
from ..line.meter import Meter
from ..line.redact import Redactor, redact_address
from ..line.sources.address import make_source
from ..line.sources.folder import WatchedFolder
from ..line.sources.names import name_sources
from ..line.sources.source import Source
from ..page.controls import ChangedError

KEPT_FRAMES = 8
"""Frames that were shown and can still be collected: who presses a key saw one of them."""
PERIOD = 0.2
"""Seconds between two frames that are shown, however many look."""
FOLDER_PERIOD = 1.0
"""Seconds for which each picture of a folder is shown."""
TIMEOUT = 10.0
LONGEST_ADDRESS = 400
PHOTOS = "photos"
"""The source of photos that were dropped into the page."""


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame: its number, counted through all sources; pixels uint8 RGB [H,W,3]; when it came, in monotonic seconds;
    what it is called, which is a photo's name."""

    number: int
    pixels: Array8
    arrival: float
    name: str


class _Running(NamedTuple):
    """A source while it runs: its address, its name, what ends it, and its messages without secrets."""

    address: str
    name: str
    stop: threading.Event
    redactor: Redactor


class Live:
    """Shows one source at a time, chosen by whoever uses the studio. For several threads.

    Args:
        named: Addresses that may be chosen besides those that a page may name.
        report: Takes one line of text about each thing that happens.
        is_line: Whether the named ones are sources of a line, whose frames `feed` takes; no other may be chosen then.
    """

    def __init__(self, named: Sequence[str], report: Callable[[str], None], *, is_line: bool = False) -> None:
        self.named, self._report, self._is_line = tuple(named), report, is_line
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._capture: Capture | None = None
        self._message = ""
        self._newest: LiveFrame | None = None
        self._shown: deque[LiveFrame] = deque(maxlen=KEPT_FRAMES)
        self._shown_since = 0.0
        self._count = 0

    def choose(self, address: str) -> None:
        """Show the pictures of a source in place of the one before.

        Raises:
            SettingsError: The address means no source, or one that a page may not open.
            SourceError: The library that reads such a source is not installed.
        """
        address = dict(zip(self.named_shown(), self.named, strict=True)).get(address, address)
        if self._is_line and address in self.named:
            self._begin(_Running(address, address, threading.Event(), Redactor([])))
            return
        self._check(address)
        source: Source = WatchedFolder(Path(address), {}) if Path(address).is_dir() else make_source(address, TIMEOUT)
        running = _Running(address, name_sources([address])[0], threading.Event(), Redactor([address]))
        self._begin(running)
        threading.Thread(target=self._run, args=(running, source), name="live", daemon=True).start()

    def show(self, pixels: Array8, name: str) -> int:
        """Show a photo that was dropped into the page in place of a source, and return its number."""
        with self._lock:
            is_photo = self._running is not None and self._running.address == PHOTOS
        if not is_photo:
            self._begin(_Running(PHOTOS, PHOTOS, threading.Event(), Redactor([])))
        with self._lock:
            return self._put(pixels, name).number

    def feed(self, source: str, pixels: Array8) -> None:
        """Take a frame of a line's source, which is shown where this source was chosen."""
        with self._lock:
            if self._running is not None and self._running.name == source:
                self._put(pixels, source)

    def close(self) -> None:
        """Show nothing any more."""
        with self._lock:
            self._end()

    def newest(self) -> LiveFrame | None:
        """Return the frame to look at now; it can be collected for a while."""
        with self._lock:
            newest = self._newest
            if newest is None:
                return None
            now = time.monotonic()
            if not self._shown or (newest is not self._shown[-1] and now - self._shown_since >= PERIOD):
                self._shown.append(newest)
                self._shown_since = now
            return self._shown[-1]

    def shown(self, number: int) -> LiveFrame:
        """Return a frame that was shown a moment ago.

        Raises:
            ChangedError: It is gone.
        """
        with self._lock:
            for frame in self._shown:
                if frame.number == number:
                    return frame
        raise ChangedError("that picture is gone; look at the newest one")

    def named_shown(self) -> list[str]:
        """Return the named addresses as they may be shown."""
        return [redact_address(address) for address in self.named]

    def status(self) -> dict[str, Any] | None:
        """Return how the source stands; None where none was chosen."""
        with self._lock:
            running, capture = self._running, self._capture
            if running is None:
                return None
            error = "" if capture is None else capture.error
            return {
                "name": running.name,
                "address": redact_address(running.address),
                "age": None if self._newest is None else time.monotonic() - self._newest.arrival,
                "error": running.redactor.redact(error),
                "message": running.redactor.redact(self._message),
            }

    def _check(self, address: str) -> None:
        """Refuse what a page may not open; what was named when the studio was started is opened as it is."""
        if address in self.named:
            return
        if self._is_line:
            raise SettingsError("there is no such source on this line")
        if not 0 < len(address) <= LONGEST_ADDRESS or not address.isprintable():
            raise SettingsError(f"an address of 1 to {LONGEST_ADDRESS} printable characters is needed")
        if address.startswith("genicam:"):
            raise SettingsError(
                "a GenICam camera's producer is a program that is loaded: name the camera with --source where the "
                "studio is started"
            )

    def _run(self, running: _Running, source: Source) -> None:
        """Take a source's pictures until another one is chosen; a recording is shown again and again."""
        is_folder = isinstance(source, WatchedFolder)
        reports = _Reports(lambda text: self._report(running.redactor.redact(text)))
        while not running.stop.is_set():
            queue = FrameQueue("every" if is_folder else "newest")
            context = LineContext(reports.once, stop=running.stop)
            capture = Capture(running.name, source, queue, Meter(running.name), context)
            with self._lock:
                if self._running is not running:
                    return
                self._capture = capture
            capture.start()
            while (frame := queue.take()) is not None and not running.stop.is_set():
                if isinstance(frame.pixels, GoodpartsError):
                    self._message = str(frame.pixels)
                    reports.once(self._message)
                    continue
                with self._lock:
                    if self._running is not running:
                        break
                    self._put(frame.pixels, running.name if frame.path is None else Path(frame.path).stem)
                if is_folder:
                    running.stop.wait(FOLDER_PERIOD)
            queue.close()

    def _begin(self, running: _Running) -> None:
        with self._lock:
            self._end()
            self._running = running

    def _put(self, pixels: Array8, name: str) -> LiveFrame:
        self._count += 1
        self._newest = LiveFrame(self._count, pixels, time.monotonic(), name)
        return self._newest

    def _end(self) -> None:
        """Let the source go, and what it has shown."""
        if self._running is not None:
            self._running.stop.set()
        self._running = self._capture = self._newest = None
        self._message = ""
        self._shown.clear()


class _Reports:
    """Passes a text on, unless it is the same as the one before: a recording that is shown again ends as it did."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report, self._last = report, ""

    def once(self, text: str) -> None:
        if text != self._last:
            self._last = text
            self._report(text)
