"""All that the page shows, but for pictures, as one JSON object. Times are ages in seconds: clocks differ."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodparts import __version__

from ..line.capture import Report
from ..line.meter import Gauges
from ..line.settings import OutputSettings, SourceSettings
from ..line.sources.source import redacted
from ..line.station import Station
from .controls import Controls
from .gallery import Gallery
from .recent import Recent

if TYPE_CHECKING:
    from ..line.line import Line

CHARTED = 300
"""Frames whose scores the page draws."""


class Messages:
    """The last lines that the line has said. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: deque[tuple[float, str]] = deque(maxlen=50)

    def add(self, text: str) -> None:
        with self._lock:
            self._said.append((time.monotonic(), masked(text)))

    def teed(self, report: Report) -> Report:
        """`report` that is heard here too."""

        def say(text: str) -> None:
            self.add(text)
            report(text)

        return say

    def newest_first(self) -> list[dict[str, Any]]:
        now = time.monotonic()
        with self._lock:
            return [{"age": now - moment, "text": text} for moment, text in reversed(self._said)]


def masked(text: str) -> str:
    """A line whose addresses are as `redacted` shows them: libraries quote what they were given."""
    return re.sub(r"\w+://\S+", lambda found: redacted(found[0]), text)


class State:
    """Reads a line; changes nothing."""

    def __init__(
        self, line: Line, recents: dict[str, Recent], controls: Controls, gallery: Gallery | None, messages: Messages
    ) -> None:
        self.recents, self._line, self._controls = recents, line, controls
        self._gallery, self._messages = gallery, messages
        self._started = time.monotonic()
        self._places = _places(line.settings.output)

    def read(self) -> dict[str, Any]:
        """What is so now. Asking for it is watching: it decides which frames are shown (Recent.show)."""
        line, settings = self._line, self._line.settings
        encoder, backend = line.shared.engine.encoder.backbone, line.shared.engine.backend
        together = zip(settings.source, line.stations, line.gauges(), strict=True)
        names = [] if self._gallery is None else self._gallery.names()
        return {
            "about": f"{__version__} · {encoder} on {backend}",
            "up": time.monotonic() - self._started,
            "sources": [
                self._source(told, gauges) | self._threshold(told, station) for told, station, gauges in together
            ],
            "outputs": [
                {"name": each.name_, "lost": each.lost, "waiting": each.waiting, "failing": each.failing}
                for each in line.outlets
            ],
            "disks": _disks(self._places),
            "rejects": None if self._gallery is None else {"total": len(names), "newest": names[0] if names else ""},
            "messages": self._messages.newest_first(),
        }

    def _source(self, told: SourceSettings, gauges: Gauges) -> dict[str, Any]:
        recent, meter = self.recents[told.name], gauges.meter
        result = recent.show()
        last, reject = recent.ages()
        points = recent.points(CHARTED)
        return {
            "name": told.name,
            "address": redacted(told.address),
            "smoothing": told.smoothing,
            "up": gauges.up,
            "age": last,
            "reject_age": reject,
            "shown": None if result is None else _shown(result.record, result.decision),
            "scores": [float(f"{point.score:.4g}") for point in points],
            "bad": [int(point.decision == "reject") for point in points],
            "rate": meter.rate(),
            "dropped": gauges.dropped,
            "latency": meter.percentiles(),
        } | meter.counts()

    def _threshold(self, told: SourceSettings, station: Station) -> dict[str, Any]:
        detector, controls = station.detector, self._controls
        return {
            "product": detector.recipe.header.product,
            "recipe": station.product.recipe.name,
            "threshold": detector.thresholds.image,
            "recipe_threshold": detector.recipe.header.thresholds.image,
            "origin": controls.origin(told.name),
            "sharing": controls.sharing(told.name),
            "undo": controls.undoable(told.name),
        }


def _shown(record: dict[str, Any], decision: str) -> dict[str, Any]:
    wanted = ("frame", "score", "threshold", "verdict", "error")
    return {key: record[key] for key in wanted if key in record} | {"decision": decision}


def _places(output: OutputSettings) -> list[Path]:
    """The folders that grow."""
    found = [] if output.json in (None, "-") else [Path(str(output.json)).absolute().parent]
    return found + ([] if output.rejects is None else [Path(output.rejects).absolute()])


def _disks(places: list[Path]) -> list[dict[str, Any]]:
    """Free and total bytes of the disks of `places`, each disk once."""
    disks: dict[tuple[int, int], dict[str, Any]] = {}
    for place in places:
        try:
            usage = shutil.disk_usage(place)
        except OSError:
            continue
        disks.setdefault((usage.total, usage.used), {"path": str(place), "free": usage.free, "total": usage.total})
    return list(disks.values())
