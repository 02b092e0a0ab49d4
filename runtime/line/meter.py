"""What is counted and timed of one source's frames."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np

STAGES = ("wait", "preprocess", "encode", "score", "output", "total")
"""Waiting in the queue; the detector's three, of which encode holds the wait for the engine; regions and hand-over to
the outputs; and from the picture's arrival to there."""
WINDOW = 1000
"""The last frames, whose times the percentiles are of."""


class Meter:
    """Counts one source's frames, and keeps how many milliseconds its last ones took per stage. For several threads."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._times: deque[tuple[float, ...]] = deque(maxlen=WINDOW)
        self._finished: deque[float] = deque(maxlen=WINDOW)

    def add_failed(self, frames: int = 1) -> None:
        """Count frames without verdict."""
        with self._lock:
            self._counts["failed"] += frames

    def add_inspected(self, milliseconds: Sequence[float], decision: str) -> None:
        """Count a frame that was inspected, and how long each of STAGES took, in their order."""
        with self._lock:
            self._counts["inspected"] += 1
            self._counts["rejected"] += decision == "reject"
            self._times.append(tuple(milliseconds))
            self._finished.append(time.perf_counter())

    def counts(self) -> dict[str, int]:
        """Return how many frames were inspected, rejected and failed since the start."""
        with self._lock:
            return {name: self._counts[name] for name in ("inspected", "rejected", "failed")}

    def percentiles(self) -> dict[str, tuple[float, float]]:
        """Return median and 99th percentile of each stage, in milliseconds; nothing before the first frame."""
        with self._lock:
            times = np.array(self._times)
        if not len(times):
            return {}
        median, high = np.percentile(times, (50, 99), axis=0)
        return {stage: (float(median[i]), float(high[i])) for i, stage in enumerate(STAGES)}

    def rate(self, seconds: float = 5.0) -> float:
        """Return frames per second over the last `seconds`."""
        now = time.perf_counter()
        with self._lock:
            recent = [moment for moment in self._finished if now - moment < seconds]
        if len(recent) < 2:
            return 0.0
        # A full window reaches less far back; one that ended a while ago has slowed down since.
        return len(recent) / max(now - recent[0], 1e-9)
