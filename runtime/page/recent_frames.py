"""The last frames of one source: their scores, and the frame that the page shows."""

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
"""The most frames whose scores are kept."""
SIDE = 720
"""The longest side of a picture on the page, in pixels."""
PERIOD = 0.25
"""Seconds for which all browsers are shown the same frame."""
FRESH = 3.0
"""Seconds for which a reject that no browser has shown yet is shown instead of newer frames."""


class Point(NamedTuple):
    """A frame's number, scores and decision.

    Attributes:
        number: The frame's number.
        score: The score by the threshold in use when the frame was inspected.
        raw_score: The raw image score, which can be compared with any other raw threshold.
        decision: The decision, after smoothing.
        recipe: The digest of the recipe that the frame was inspected with.
    """

    number: int
    score: float
    raw_score: float
    decision: str
    recipe: str

    def score_by(self, recipe: str, raw_threshold: float) -> float:
        """Return the score by another threshold. The score of a frame that another recipe inspected is not changed.

        Args:
            recipe: The digest of the recipe in use now.
            raw_threshold: The raw image threshold in use now.
        """
        return self.raw_score / raw_threshold if self.recipe == recipe else self.score


@dataclass(frozen=True)
class Preview:
    """The decisions that another threshold would have led to.

    Attributes:
        frames: How many of the last frames were inspected with the recipe in use.
        rejected: How many of them were rejected.
        would: How many of them the other threshold would have rejected.
    """

    frames: int
    rejected: int
    would: int


@dataclass(frozen=True, eq=False)
class _TimedResult:
    """A result, and the time at which it arrived or was shown."""

    result: Result
    time: float  # on time.monotonic

    @property
    def number(self) -> int:
        return int(self.result.record["frame"])


class RecentFrames:
    """The last frames of one source. Several threads may use it.

    Keeping a frame costs only an append. A picture is drawn when a browser asks for it, once for all browsers.

    Args:
        smoothing: The source's n and m: its decision is reject while at least n of the last m frames are rejected.
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
        """Keep the result of a frame, with or without a verdict.

        Args:
            result: The result of the source's next frame.
        """
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
        """Return the frame to show now: a reject not shown yet, otherwise the newest; None before the first."""
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
        """Return the seconds since the last frame and since the last reject; None if there was none."""
        now = time.monotonic()
        with self._lock:
            last, reject = self._last, self._reject
        return (None if last is None else now - last.time, None if reject is None else now - reject.time)

    def points(self, count: int) -> list[Point]:
        """Return the last frames that have a verdict, oldest first.

        Args:
            count: The most frames to return.
        """
        with self._lock:
            return list(self._points)[-count:]

    def picture(self, number: int, heat: bool) -> bytes | None:
        """Return the picture of a frame as JPEG.

        Args:
            number: The frame's number; `show` must have returned it as one of its last two frames.
            heat: Whether the heat-map is drawn over the picture.

        Returns:
            The JPEG file's bytes; None if the frame is no longer kept or has no verdict.
        """
        with self._drawing:  # the second browser that asks finds the picture drawn
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
        """Return the decisions that another threshold would have led to, after smoothing as Smoothing does it.

        Args:
            raw_threshold: The raw image score from which a frame would be rejected.
        """
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
    """Return a picture as the bytes of a JPEG file.

    Args:
        picture: The picture, in any mode that converts to RGB.
    """
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=82)
    return buffer.getvalue()
