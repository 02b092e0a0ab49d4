"""How frames arrive: one right after another, in batches, or when a camera sends them.

Back to back, the next frame waits for the last. A camera does not wait: a frame is due every 1/fps seconds, threads go
to sleep and clocks drop in between, and latency counts from the moment at which the frame was due, whatever kept the
line from it. The line takes the newest frame that is there; a frame that a newer one replaced before that is missed.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from goodparts.runtime.core.errors import SettingsError

from .timing import percentile

StageMilliseconds = dict[str, float]
"""Stage of an inspection → milliseconds per picture; empty for a call that has no stages."""

WARMUP_CALLS = 3
"""Untimed calls before the timed ones of every pattern."""


class Clock(NamedTuple):
    """now: returns seconds; sleep: waits for so many of them."""

    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep


REAL = Clock()


@dataclass(frozen=True)
class ArrivalPattern:
    """One way in which frames arrive.

    batch: pictures per call. fps: the camera's frames per second; None is back to back. utilisation: the share of the
    time in which the line is at work, by its own back-to-back median; the rate follows from it.
    """

    batch: int = 1
    fps: float | None = None
    utilisation: float | None = None

    @property
    def title(self) -> str:
        """The name of the pattern in a report."""
        if self.utilisation is not None:
            return f"busy {self.utilisation:.0%}"
        if self.fps is not None:
            return f"{self.fps:g} fps"
        return "back to back" if self.batch == 1 else f"batch {self.batch}"

    @property
    def paced(self) -> bool:
        """Whether frames arrive at a rate, so that some can be missed."""
        return self.fps is not None or self.utilisation is not None


BACK_TO_BACK = ArrivalPattern()


@dataclass(frozen=True)
class Latencies:
    """What the calls under one arrival pattern took.

    seconds: latency of every call; stages: its stages; missed: frames that no call looked at; fps: the rate at which
    frames arrived, None for back to back.
    """

    seconds: list[float]
    stages: list[StageMilliseconds]
    missed: int = 0
    fps: float | None = None

    def percentile(self, rank: float) -> float:
        """Return a percentile of the latency in seconds; rank 100 is the largest."""
        return percentile(self.seconds, rank)

    @property
    def miss_rate(self) -> float:
        """The share of frames that were missed."""
        return self.missed / (self.missed + len(self.seconds))


LatenciesByPattern = dict[ArrivalPattern, Latencies]


def call_back_to_back(call: Callable[[], StageMilliseconds], count: int, clock: Clock = REAL) -> Latencies:
    """Call `count` times, and time each call by itself."""
    seconds: list[float] = []
    stages: list[StageMilliseconds] = []
    for _ in range(count):
        start = clock.now()
        call_stages = call()
        seconds.append(clock.now() - start)
        stages.append(call_stages)
    return Latencies(seconds, stages)


def call_at_rate(call: Callable[[], StageMilliseconds], fps: float, frames: int, clock: Clock = REAL) -> Latencies:
    """Inspect the newest of the frames 0 … frames−1 of a camera that starts now, again and again until the last."""
    seconds: list[float] = []
    stages: list[StageMilliseconds] = []
    start = clock.now()
    frame = 0
    while frame < frames:
        wait = start + frame / fps - clock.now()
        if wait > 0:
            clock.sleep(wait)
        call_stages = call()
        now = clock.now() - start
        seconds.append(now - frame / fps)
        stages.append(call_stages)
        frame = max(frame + 1, math.floor(now * fps))
    return Latencies(seconds, stages, frames - len(seconds), fps)


@dataclass(frozen=True)
class LatencyTest:
    """The arrival patterns that a contender meets in every round, back to back first, and how many frames of each.

    Raises SettingsError where another pattern comes first.
    """

    patterns: tuple[ArrivalPattern, ...]
    frames: int

    def __post_init__(self) -> None:
        if self.patterns[0] != BACK_TO_BACK:
            raise SettingsError(f"patterns start with {self.patterns[0].title!r}: back to back must come first")

    def run(self, call: Callable[[int], StageMilliseconds], clock: Clock = REAL) -> LatenciesByPattern:
        """Time one round. call: takes the number of pictures, inspects them, and returns the stages per picture."""
        latencies: LatenciesByPattern = {}
        for pattern in self.patterns:
            call_once = functools.partial(call, pattern.batch)
            for _ in range(WARMUP_CALLS):
                call_once()
            fps = pattern.fps
            if pattern.utilisation is not None:
                fps = pattern.utilisation / latencies[BACK_TO_BACK].percentile(50)
            if fps is None:
                latencies[pattern] = call_back_to_back(call_once, max(2, self.frames // pattern.batch), clock)
            else:
                latencies[pattern] = call_at_rate(call_once, fps, self.frames, clock)
        return latencies


def merge_rounds(rounds: Iterable[Latencies]) -> Latencies:
    """Return the latencies of one pattern in several rounds as one; its fps is the median of theirs."""
    parts = list(rounds)
    rates = [part.fps for part in parts if part.fps is not None]
    return Latencies(
        [seconds for part in parts for seconds in part.seconds],
        [stages for part in parts for stages in part.stages],
        sum(part.missed for part in parts),
        percentile(rates, 50) if rates else None,
    )


def make_latency_test(fps: Sequence[float], batch: int, frames: int) -> LatencyTest:
    """Return a test with these patterns: back to back; half busy, a rate that every line keeps up with; each camera's
    rate; batches of 2, 4, … up to `batch` pictures."""
    batches = [2**power for power in range(1, 32) if 2**power < batch] + [batch] * (batch > 1)
    paced = (ArrivalPattern(utilisation=0.5), *(ArrivalPattern(fps=rate) for rate in fps))
    return LatencyTest((BACK_TO_BACK, *paced, *(ArrivalPattern(batch=size) for size in batches)), frames)
