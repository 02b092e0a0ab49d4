"""What is counted and timed of a source, and how it is shown: a status line, and Prometheus' text."""

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
"""Frames that percentiles are of."""


class Meter:
    """Counters of one source, and the milliseconds of its last frames per stage. For several threads."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._times: deque[tuple[float, ...]] = deque(maxlen=WINDOW)
        self._finished: deque[float] = deque(maxlen=WINDOW)

    def count(self, what: str) -> None:
        """One more of: failed (a frame without verdict)."""
        with self._lock:
            self._counts[what] += 1

    def add(self, milliseconds: Sequence[float], decision: str) -> None:
        """A frame that was inspected: milliseconds in the order of STAGES."""
        with self._lock:
            self._counts["inspected"] += 1
            self._counts["rejected"] += decision == "reject"
            self._times.append(tuple(milliseconds))
            self._finished.append(time.perf_counter())

    def counts(self) -> dict[str, int]:
        with self._lock:
            return {name: self._counts[name] for name in ("inspected", "rejected", "failed")}

    def percentiles(self) -> dict[str, tuple[float, float]]:
        """Median and 99th percentile of each stage, in milliseconds; empty before the first frame."""
        with self._lock:
            times = np.array(self._times)
        if not len(times):
            return {}
        middle, high = np.percentile(times, (50, 99), axis=0)
        return {stage: (float(middle[i]), float(high[i])) for i, stage in enumerate(STAGES)}

    def rate(self, seconds: float = 5.0) -> float:
        """Frames a second over the last `seconds`."""
        now = time.perf_counter()
        with self._lock:
            recent = [moment for moment in self._finished if now - moment < seconds]
        if len(recent) < 2:
            return 0.0
        # A full window reaches less far back; one that ended a while ago has slowed down since.
        return len(recent) / max(now - recent[0], 1e-9)


_LATENCY = "goodparts_latency_milliseconds"


class Gauges:
    """What is to be shown of one source beside its meter."""

    def __init__(self, meter: Meter, dropped: int, up: bool) -> None:
        self.meter, self.dropped, self.up = meter, dropped, up


_HEAD = ("source", "fps", "dropped", "rejected", "failed", *STAGES)


def status_table(sources: Sequence[Gauges]) -> list[str]:
    """A head and a line per source: rate, what became of its frames, and median/99th percentile per stage in ms."""
    rows: list[tuple[str, ...]] = [_HEAD]
    for shown in sources:
        counts, times = shown.meter.counts(), shown.meter.percentiles()
        latency = [f"{times[stage][0]:.1f}/{times[stage][1]:.1f}" if times else "-" for stage in STAGES]
        rate = f"{shown.meter.rate():.1f}" if shown.up else "none"
        rows.append(
            (shown.meter.source, rate, str(shown.dropped), str(counts["rejected"]), str(counts["failed"]), *latency)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def totals(sources: Sequence[Gauges]) -> str:
    """What became of every source's frames since the start, in one line."""
    return " | ".join(
        f"{each.meter.source}: {', '.join(f'{count} {name}' for name, count in each.meter.counts().items())}, "
        f"{each.dropped} dropped"
        for each in sources
    )


def prometheus_text(sources: Sequence[Gauges], lost: dict[str, int]) -> str:
    """Metrics in Prometheus' text format, version 0.0.4. lost: results that an output could not deliver.

    Written here, as names and numbers are all there is to it; source names hold nothing that needs escaping.
    """
    lines = []

    def metric(name: str, kind: str, text: str, values: Sequence[tuple[str, float]]) -> None:
        lines.extend([f"# HELP {name} {text}", f"# TYPE {name} {kind}"])
        lines.extend(f"{name}{{{labels}}} {value:g}" for labels, value in values)

    labelled = [(f'source="{shown.meter.source}"', shown) for shown in sources]
    for counter, text in (
        ("inspected", "Frames with a verdict."),
        ("rejected", "Frames whose decision was reject."),
        ("failed", "Frames that could not be inspected."),
    ):
        values = [(label, float(shown.meter.counts()[counter])) for label, shown in labelled]
        metric(f"goodparts_{counter}_total", "counter", text, values)
    dropped = [(label, float(shown.dropped)) for label, shown in labelled]
    metric("goodparts_dropped_total", "counter", "Frames that a newer one replaced.", dropped)
    metric("goodparts_up", "gauge", "1 while pictures come.", [(label, float(shown.up)) for label, shown in labelled])
    rates = [(label, shown.meter.rate()) for label, shown in labelled]
    metric("goodparts_frames_per_second", "gauge", "Over the last seconds.", rates)
    latency = [
        (f'{label},stage="{stage}",quantile="{quantile}"', value)
        for label, shown in labelled
        for stage, pair in shown.meter.percentiles().items()
        for quantile, value in zip(("0.5", "0.99"), pair, strict=True)
    ]
    metric(_LATENCY, "gauge", f"Of each source's last {WINDOW} frames.", latency)
    metric(
        "goodparts_output_lost_total", "counter", "Results that an output could not deliver.",
        [(f'output="{name}"', float(count)) for name, count in lost.items()],
    )  # fmt: skip
    return "\n".join(lines) + "\n"
