"""The live picture: the frames of the chosen source. The last few that were shown can still be collected."""

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
"""The number of last shown frames that can still be collected, even if a newer frame has replaced them on the page."""
PERIOD = 0.2
"""Seconds for which all browsers are shown the same frame."""
FOLDER_PERIOD = 1.0
"""Seconds for which each picture of a folder is shown."""
TIMEOUT = 10.0
"""Seconds without a picture after which a camera or stream counts as lost."""
LONGEST_ADDRESS = 400
"""The most characters of an address that a page may send."""
PHOTOS = "photos:"
"""The address of the source whose frames are photos that were dropped into the page."""


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame of the live picture.

    Attributes:
        number: The frame's number, counted over all sources.
        pixels: The picture, [height, width, 3], uint8, RGB.
        arrival: When the frame arrived, in seconds of time.monotonic.
        name: The source's name; a photo's own name if the frame is a photo.
    """

    number: int
    pixels: Array8
    arrival: float
    name: str


class _Running(NamedTuple):
    """A source while it runs.

    Attributes:
        address: The source's address.
        name: The source's name, as the page shows it.
        stop: Ends the source once it is set.
        redactor: Removes the address's secrets from messages.
        is_folder: Whether it is a folder of pictures.
    """

    address: str
    name: str
    stop: threading.Event
    redactor: Redactor
    is_folder: bool = False


class Live:
    """The live picture of one source at a time, which the user chooses. Several threads may use it.

    Args:
        named: The addresses that the program was started with. The checks of addresses that a page sends do not apply
            to these.
        report: Takes one line of text about each event.
        is_line: Whether the named addresses are the sources of a line, whose frames are passed to `feed`. Then no other
            source can be chosen.
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
        """Show the frames of a source instead of those of the present one.

        Args:
            address: The address of a camera, a stream, a video or a folder; or a named source, as `named_shown` lists
                it.

        Raises:
            SettingsError: The address names no source, or one that a page may not open.
            SourceError: The library that reads such a source is not installed.
        """
        address = dict(zip(self.named_shown(), self.named, strict=True)).get(address, address)
        if self._is_line and address in self.named:
            self._begin(_Running(address, address, threading.Event(), Redactor([])))
            return
        self._check(address)
        is_folder = Path(address).is_dir()
        source: Source = WatchedFolder(Path(address), {}) if is_folder else make_source(address, TIMEOUT)
        running = _Running(address, name_sources([address])[0], threading.Event(), Redactor([address]), is_folder)
        self._begin(running)
        threading.Thread(target=self._run, args=(running, source), name="live", daemon=True).start()

    def show(self, pixels: Array8, name: str) -> int:
        """Show a photo that was dropped into the page, instead of the present source.

        Args:
            pixels: The photo, [height, width, 3], uint8, RGB.
            name: The photo's name.

        Returns:
            The number of the photo's frame.
        """
        with self._lock:
            is_photo = self._running is not None and self._running.address == PHOTOS
        if not is_photo:
            self._begin(_Running(PHOTOS, "photos", threading.Event(), Redactor([])))
        with self._lock:
            return self._put(pixels, name).number

    def feed(self, source: str, pixels: Array8) -> None:
        """Take a frame of a line's source. It is shown if this source is the chosen one.

        Args:
            source: The source's name.
            pixels: The frame, [height, width, 3], uint8, RGB.
        """
        with self._lock:
            if self._running is not None and self._running.name == source:
                self._put(pixels, source)

    def close(self) -> None:
        """Stop the source and show no picture."""
        with self._lock:
            self._end()

    def newest(self) -> LiveFrame | None:
        """Return the frame to show now; None before the first. It can be collected for a while."""
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

        Args:
            number: The frame's number.

        Raises:
            ChangedError: The frame is no longer kept.
        """
        with self._lock:
            for frame in self._shown:
                if frame.number == number:
                    return frame
        raise ChangedError("that picture is no longer kept; use the one that is shown now")

    def named_shown(self) -> list[str]:
        """Return the named addresses without their secrets."""
        return [redact_address(address) for address in self.named]

    def status(self) -> dict[str, Any] | None:
        """Return the source's name, address, kind, seconds since its last frame, and errors; None for no source."""
        with self._lock:
            running, capture = self._running, self._capture
            if running is None:
                return None
            error = "" if capture is None else capture.error
            return {
                "name": running.name,
                "address": redact_address(running.address),
                "folder": running.is_folder,
                "age": None if self._newest is None else time.monotonic() - self._newest.arrival,
                "error": running.redactor.redact(error),
                "message": running.redactor.redact(self._message),
            }

    def _check(self, address: str) -> None:
        """Refuse an address that a page may not open. The named addresses are always accepted."""
        if address in self.named:
            return
        if self._is_line:
            raise SettingsError("there is no such source on this line")
        if not 0 < len(address) <= LONGEST_ADDRESS or not address.isprintable():
            raise SettingsError(f"an address of 1 to {LONGEST_ADDRESS} printable characters is needed")
        if address.startswith("genicam:"):
            raise SettingsError(
                "a page cannot open a GenICam camera, because its producer is a program that would be loaded: start "
                "the studio with --source ADDRESS for this camera"
            )

    def _run(self, running: _Running, source: Source) -> None:
        """Read the source until another one is chosen. A recording starts again when it has ended."""
        reports = _Reports(lambda text: self._report(running.redactor.redact(text)))
        while not running.stop.is_set():
            queue = FrameQueue("every" if running.is_folder else "newest")
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
                if running.is_folder:
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
        """Stop the source and forget its frames."""
        if self._running is not None:
            self._running.stop.set()
        self._running = self._capture = self._newest = None
        self._message = ""
        self._shown.clear()


class _Reports:
    """Reports a text unless it repeats the last one. A recording that is shown again ends with the same text."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report, self._last = report, ""

    def once(self, text: str) -> None:
        if text != self._last:
            self._last = text
            self._report(text)
