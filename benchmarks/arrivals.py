"""Patterns in which frames arrive: one right after another, in batches, or at the rate of a camera.

Back to back, the next frame waits until the previous frame is done. A camera does not wait. A frame is due every 1/fps
seconds; between frames, threads go to sleep and the processor lowers its clock. Latency is measured from the moment the
frame was due, even if the line was still busy then. The line takes the newest frame. A frame that is replaced by a
newer one before the line takes it is missed.
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
"""The milliseconds per picture of each stage of an inspection; empty for a call without stages."""

WARMUP_CALLS = 3
"""The number of untimed calls before the timed calls of every pattern."""


class Clock(NamedTuple):
    """A clock that tests can replace.

    Attributes:
        now: Returns the time in seconds.
        sleep: Waits for a number of seconds.
    """

    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep


REAL = Clock()


@dataclass(frozen=True)
class ArrivalPattern:
    """One way in which frames arrive.

    Attributes:
        batch: The number of pictures of a call, 1 or more.
        fps: The camera's frames per second; None for back to back.
        utilisation: The share of the time in which the line works, above 0 and up to 1. With the line's median latency
            back to back, it determines the rate. None otherwise.
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
        """Whether frames arrive at a fixed rate, so that some can be missed."""
        return self.fps is not None or self.utilisation is not None


BACK_TO_BACK = ArrivalPattern()


@dataclass(frozen=True)
class Latencies:
    """The latencies of the calls under one arrival pattern.

    Attributes:
        seconds: The latency of every call.
        stages: The stages of every call, in milliseconds per picture.
        missed: The number of frames that no call inspected.
        fps: The rate at which frames arrived; None for back to back.
    """

    seconds: list[float]
    stages: list[StageMilliseconds]
    missed: int = 0
    fps: float | None = None

    def percentile(self, rank: float) -> float:
        """Return a percentile of the latency in seconds.

        Args:
            rank: The percentile, 0 to 100; 100 is the largest latency.
        """
        return percentile(self.seconds, rank)

    @property
    def miss_rate(self) -> float:
        """The share of frames that were missed."""
        return self.missed / (self.missed + len(self.seconds))


LatenciesByPattern = dict[ArrivalPattern, Latencies]


def call_back_to_back(call: Callable[[], StageMilliseconds], count: int, clock: Clock = REAL) -> Latencies:
    """Time calls that follow one right after another.

    Args:
        call: Inspects, and returns the milliseconds per picture of each stage.
        count: The number of calls.
        clock: The clock that times the calls.

    Returns:
        The latency of every call, without missed frames and rate.
    """
    seconds: list[float] = []
    stages: list[StageMilliseconds] = []
    for _ in range(count):
        start = clock.now()
        call_stages = call()
        seconds.append(clock.now() - start)
        stages.append(call_stages)
    return Latencies(seconds, stages)


def call_at_rate(call: Callable[[], StageMilliseconds], fps: float, frames: int, clock: Clock = REAL) -> Latencies:
    """Inspect the frames 0 to frames−1 of a camera that starts now: always the newest frame, until the last.

    Args:
        call: Inspects one frame, and returns the milliseconds of each stage.
        fps: The camera's frames per second, above 0.
        frames: The number of frames that fall due.
        clock: The clock that waits for frames and times the calls.

    Returns:
        The latency of each inspected frame from the moment it was due, and the number of missed frames.
    """
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
    """The arrival patterns of every round, and the number of frames of each.

    Attributes:
        patterns: The patterns, in the order in which they are timed. Back to back comes first.
        frames: The number of frames of each pattern: those that fall due, or those of all calls together. There are at
            least two calls back to back and in batches.

    Raises:
        SettingsError: Back to back is not the first pattern.
    """

    patterns: tuple[ArrivalPattern, ...]
    frames: int

    def __post_init__(self) -> None:
        if self.patterns[0] != BACK_TO_BACK:
            raise SettingsError(f"patterns start with {self.patterns[0].title!r}: back to back must come first")

    def run(self, call: Callable[[int], StageMilliseconds], clock: Clock = REAL) -> LatenciesByPattern:
        """Time one round, with WARMUP_CALLS untimed calls before each pattern.

        Args:
            call: Takes a number of pictures, inspects as many, and returns the milliseconds per picture of each stage.
            clock: The clock that waits for frames and times the calls.

        Returns:
            The latencies under each pattern.
        """
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
    """Merge the latencies of one pattern in several rounds.

    Args:
        rounds: The latencies of each round.

    Returns:
        All calls one round after another, the sum of missed frames, and the median of the rounds' rates.
    """
    parts = list(rounds)
    rates = [part.fps for part in parts if part.fps is not None]
    return Latencies(
        [seconds for part in parts for seconds in part.seconds],
        [stages for part in parts for stages in part.stages],
        sum(part.missed for part in parts),
        percentile(rates, 50) if rates else None,
    )


def make_latency_test(fps: Sequence[float], batch: int, frames: int) -> LatencyTest:
    """Make the test that `bench frame` runs.

    The patterns are back to back; half busy, which is a rate that every line can keep up with; each camera's rate; and
    batches of 2, 4, … pictures.

    Args:
        fps: The cameras' frames per second.
        batch: The number of pictures of the largest batch; 1 for no batches.
        frames: The number of frames of each pattern in a round.

    Returns:
        The test.
    """
    batches = [2**power for power in range(1, 32) if 2**power < batch] + [batch] * (batch > 1)
    paced = (ArrivalPattern(utilisation=0.5), *(ArrivalPattern(fps=rate) for rate in fps))
    return LatencyTest((BACK_TO_BACK, *paced, *(ArrivalPattern(batch=size) for size in batches)), frames)
