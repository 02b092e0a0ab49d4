"""Counts and times of one source's frames."""

from __future__ import annotations

import bisect
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

STAGES = ("wait", "preprocess", "encode", "score", "output", "total")
"""The stages that are timed.

wait: in the queue. preprocess, encode, score: in the detector; encode includes the wait for the engine. output: making
the result and passing it to the outputs. total: from the picture's arrival to the end of output.
"""
WINDOW = 1000
"""The number of last frames whose times the percentiles cover."""
BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Upper bounds of a histogram's bins, in milliseconds. A bin includes its upper bound."""


class Histogram(NamedTuple):
    """A histogram of the time that all frames since the start took in one stage.

    Attributes:
        counts: The number of frames in each bin; the last bin has no upper bound.
        total: The milliseconds of all frames together.
    """

    counts: tuple[int, ...]
    total: float


class Meter:
    """Counts one source's frames and keeps the times of the last ones, per stage. It is thread-safe.

    Args:
        source: The name of the source.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._times: deque[tuple[float, ...]] = deque(maxlen=WINDOW)
        self._finished: deque[float] = deque(maxlen=WINDOW)
        self._histograms = [[0] * (len(BOUNDS) + 1) for _ in STAGES]
        self._totals = [0.0] * len(STAGES)

    def add_failed(self, frames: int = 1) -> None:
        """Count frames without a verdict.

        Args:
            frames: The number of frames.
        """
        with self._lock:
            self._counts["failed"] += frames

    def add_inspected(self, milliseconds: Sequence[float], decision: str) -> None:
        """Count a frame that was inspected, and note its times.

        Args:
            milliseconds: The milliseconds that each of STAGES took, in their order.
            decision: The decision: good, review or reject.
        """
        with self._lock:
            self._counts["inspected"] += 1
            self._counts["reviewed"] += decision == "review"
            self._counts["rejected"] += decision == "reject"
            self._times.append(tuple(milliseconds))
            self._finished.append(time.perf_counter())
            for stage, spent in enumerate(milliseconds):
                self._histograms[stage][bisect.bisect_left(BOUNDS, spent)] += 1
                self._totals[stage] += spent

    def counts(self) -> dict[str, int]:
        """Return the numbers of frames since the start that were inspected, to be reviewed, rejected, and failed."""
        with self._lock:
            return {name: self._counts[name] for name in ("inspected", "reviewed", "rejected", "failed")}

    def percentiles(self) -> dict[str, tuple[float, float]]:
        """Return the median and the 99th percentile of each stage, in milliseconds; empty before the first frame."""
        with self._lock:
            times = np.array(self._times)
        if not len(times):
            return {}
        median, high = np.percentile(times, (50, 99), axis=0)
        return {stage: (float(median[i]), float(high[i])) for i, stage in enumerate(STAGES)}

    def histograms(self) -> dict[str, Histogram]:
        """Return the histogram of each stage since the start."""
        with self._lock:
            return {
                stage: Histogram(tuple(counts), total)
                for stage, counts, total in zip(STAGES, self._histograms, self._totals, strict=True)
            }

    def rate(self, seconds: float = 5.0) -> float:
        """Return the frames per second over a recent period.

        Args:
            seconds: The length of the period.
        """
        now = time.perf_counter()
        with self._lock:
            recent = [moment for moment in self._finished if now - moment < seconds]
        if len(recent) < 2:
            return 0.0
        # A full window may cover less than the period; and the time since the last frame counts, so that the rate falls
        # when frames stop.
        return len(recent) / max(now - recent[0], 1e-9)
