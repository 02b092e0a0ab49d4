"""The last frames of one source: their scores, and the one that is shown."""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..core.preprocess import Array8
from ..inspection import Inspection
from ..line.results import Result
from ..overlay import draw_found

KEPT = 5000
"""Frames whose scores are kept."""
SIDE = 720
"""Longest side of a picture, in pixels."""
PERIOD = 0.25
"""Seconds between two frames shown, however many watch."""
FRESH = 3.0
"""Seconds for which a reject that nobody has seen yet is shown rather than the frames after it."""


class Point(NamedTuple):
    """A frame's number, scores and decision.

    score: by the limit that held then; raw_score: which another limit is compared with; recipe: digest of the recipe it
    was scored with.
    """

    number: int
    score: float
    raw_score: float
    decision: str
    recipe: str

    def score_by(self, recipe: str, raw_threshold: float) -> float:
        """Return the score by the limit that holds now; a frame of another recipe keeps the score that it had."""
        return self.raw_score / raw_threshold if self.recipe == recipe else self.score


@dataclass(frozen=True)
class Preview:
    """What a threshold would have done.

    frames: the last frames with the recipe in use; rejected: those that were rejected; would: those that would be.
    """

    frames: int
    rejected: int
    would: int


@dataclass(frozen=True, eq=False)
class _TimedResult:
    result: Result
    time: float  # on time.monotonic

    @property
    def number(self) -> int:
        return int(self.result.record["frame"])


class RecentFrames:
    """The last frames of one source. For several threads.

    A frame costs an append; a picture is drawn only when somebody asks for it, and only once.

    smoothing: reject while n of the last m frames are rejected.
    """

    def __init__(self, smoothing: tuple[int, int]) -> None:
        self._smoothing = smoothing
        self._lock, self._drawing = threading.Lock(), threading.Lock()
        self._points: deque[Point] = deque(maxlen=KEPT)
        self._last: _TimedResult | None = None
        self._reject: _TimedResult | None = None
        self._reject_is_unseen = False
        self._shown: deque[_TimedResult] = deque(maxlen=2)
        self._pictures: deque[tuple[tuple[int, bool], bytes]] = deque(maxlen=4)

    def note(self, result: Result) -> None:
        """Keep the result of a frame that was inspected, or that could not be."""
        record, timed = result.record, _TimedResult(result, time.monotonic())
        with self._lock:
            self._last = timed
            if result.inspection is None:
                return
            scores = record["score"], record["raw_score"]
            self._points.append(Point(timed.number, *scores, result.decision, record["recipe"]))
            if result.decision == "reject":
                self._reject, self._reject_is_unseen = timed, True

    def show(self) -> Result | None:
        """Return the frame to look at now: a reject that nobody has seen yet, or else the newest."""
        now = time.monotonic()
        with self._lock:
            if self._last is None:
                return None
            if self._shown and now - self._shown[-1].time < PERIOD:
                return self._shown[-1].result
            frame = self._last
            if self._reject_is_unseen and self._reject is not None and now - self._reject.time < FRESH:
                frame = self._reject
            self._reject_is_unseen = False
            if not self._shown or self._shown[-1].result is not frame.result:
                self._shown.append(_TimedResult(frame.result, now))
            return frame.result

    def ages(self) -> tuple[float | None, float | None]:
        """Return the seconds since the last frame and since the last reject; None where there was none."""
        now = time.monotonic()
        with self._lock:
            last, reject = self._last, self._reject
        return (None if last is None else now - last.time, None if reject is None else now - reject.time)

    def points(self, count: int) -> list[Point]:
        """Return the last `count` frames, oldest first."""
        with self._lock:
            return list(self._points)[-count:]

    def picture(self, number: int, heat: bool) -> bytes | None:
        """Return a frame that `show` gave lately, as JPEG, with or without its heat-map; None when it is gone."""
        with self._drawing:  # who comes second finds it drawn
            for key, data in self._pictures:
                if key == (number, heat):
                    return data
            with self._lock:
                result = next((shown.result for shown in self._shown if shown.number == number), None)
            if result is None or result.pixels is None or result.inspection is None:
                return None
            data = _draw(result.pixels, result.inspection, heat)
            self._pictures.append(((number, heat), data))
            return data

    def preview(self, raw_threshold: float) -> Preview:
        """Return what a limit would have decided on the frames of the recipe in use, smoothed as by Smoothing."""
        points = self.points(KEPT)
        points = [point for point in points if point.recipe == points[-1].recipe]
        n, m = self._smoothing
        total = np.cumsum([0, *(point.raw_score >= raw_threshold for point in points)])
        in_window = total[1:] - total[np.maximum(np.arange(1, len(total)) - m, 0)]
        rejected = sum(point.decision == "reject" for point in points)
        return Preview(len(points), rejected, int((in_window >= n).sum()))


def _draw(pixels: Array8, inspection: Inspection, heat: bool) -> bytes:
    if heat:
        return to_jpeg(draw_found(pixels, inspection, SIDE))
    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE))
    return to_jpeg(picture)


def to_jpeg(picture: Image.Image) -> bytes:
    """Return a picture as JPEG, as the page shows it."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
