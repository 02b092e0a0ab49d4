"""What is counted and timed of one source's frames."""

from __future__ import annotations

import bisect
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

STAGES = ("wait", "preprocess", "encode", "score", "output", "total")
"""Waiting in the queue; the detector's three, of which encode holds the wait for the engine; regions and hand-over to
the outputs; and from the picture's arrival to there."""
WINDOW = 1000
"""The last frames, whose times the percentiles are of."""
BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Milliseconds; a histogram counts the frames that took at most so long, for each of these."""


class Histogram(NamedTuple):
    """How long all frames since the start took in one stage.

    counts: frames that took at most BOUNDS[i] and more than the bound before, and at the end those that took longer
    than any bound; total: milliseconds of all of them together.
    """

    counts: tuple[int, ...]
    total: float


class Meter:
    """Counts one source's frames, and keeps how many milliseconds its last ones took per stage. For several threads."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._times: deque[tuple[float, ...]] = deque(maxlen=WINDOW)
        self._finished: deque[float] = deque(maxlen=WINDOW)
        self._histograms = [[0] * (len(BOUNDS) + 1) for _ in STAGES]
        self._totals = [0.0] * len(STAGES)

    def add_failed(self, frames: int = 1) -> None:
        """Count frames without verdict."""
        with self._lock:
            self._counts["failed"] += frames

    def add_inspected(self, milliseconds: Sequence[float], decision: str) -> None:
        """Count a frame that was inspected, and how long each of STAGES took, in their order."""
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
        """Return how many frames were inspected, reviewed (decision review), rejected and failed since the start."""
        with self._lock:
            return {name: self._counts[name] for name in ("inspected", "reviewed", "rejected", "failed")}

    def percentiles(self) -> dict[str, tuple[float, float]]:
        """Return median and 99th percentile of each stage, in milliseconds; nothing before the first frame."""
        with self._lock:
            times = np.array(self._times)
        if not len(times):
            return {}
        median, high = np.percentile(times, (50, 99), axis=0)
        return {stage: (float(median[i]), float(high[i])) for i, stage in enumerate(STAGES)}

    def histograms(self) -> dict[str, Histogram]:
        """Return each stage's times since the start."""
        with self._lock:
            return {
                stage: Histogram(tuple(counts), total)
                for stage, counts, total in zip(STAGES, self._histograms, self._totals, strict=True)
            }

    def rate(self, seconds: float = 5.0) -> float:
        """Return frames per second over the last `seconds`."""
        now = time.perf_counter()
        with self._lock:
            recent = [moment for moment in self._finished if now - moment < seconds]
        if len(recent) < 2:
            return 0.0
        # A full window reaches less far back; one that ended a while ago has slowed down since.
        return len(recent) / max(now - recent[0], 1e-9)
