"""How frames come: one right after another, in batches, or when a camera sends them.

Back to back, the next frame waits for the last. A camera does not: a frame is due every 1/fps seconds, in between
threads go to sleep and clocks drop, and latency is counted from when the frame was due, whatever kept the line from
it. The line takes the newest frame that is there; a frame that a newer one replaced before that is missed.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from goodparts.runtime.core.errors import SettingsError

from ..timing import percentile

T = TypeVar("T")

WARM = 3
"""Untimed calls before every burst."""


class Clock(NamedTuple):
    """now: seconds; sleep: for so many of them."""

    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep


REAL = Clock()


@dataclass(frozen=True)
class Load:
    """One way that frames come. batch: pictures per call. fps: of the camera; None is back to back. busy: choose the
    rate at which the line is at work for this share of the time, by its own back-to-back median."""

    batch: int = 1
    fps: float | None = None
    busy: float | None = None

    @property
    def title(self) -> str:
        if self.busy is not None:
            return f"busy {self.busy:.0%}"
        if self.fps is not None:
            return f"{self.fps:g} fps"
        return "back to back" if self.batch == 1 else f"batch {self.batch}"

    @property
    def paced(self) -> bool:
        return self.fps is not None or self.busy is not None


BACK_TO_BACK = Load()


@dataclass(frozen=True)
class Burst(Generic[T]):
    """seconds: latency of every call that was made; returned: what each gave; missed: frames that nobody looked at;
    fps: at which they came, None for back to back."""

    seconds: list[float]
    returned: list[T]
    missed: int = 0
    fps: float | None = None

    def percentile(self, rank: float) -> float:
        """Seconds."""
        return percentile(self.seconds, rank)

    @property
    def miss_rate(self) -> float:
        return self.missed / (self.missed + len(self.seconds))


def take_back_to_back(call: Callable[[], T], count: int, clock: Clock = REAL) -> Burst[T]:
    """Call `count` times, each timed alone."""
    seconds: list[float] = []
    returned: list[T] = []
    for _ in range(count):
        start = clock.now()
        result = call()
        seconds.append(clock.now() - start)
        returned.append(result)
    return Burst(seconds, returned)


def take_paced(call: Callable[[], T], fps: float, due: int, clock: Clock = REAL) -> Burst[T]:
    """Frames 0 … due−1 of a camera that starts now: `call` inspects the newest there is."""
    seconds: list[float] = []
    returned: list[T] = []
    start = clock.now()
    frame = 0
    while frame < due:
        wait = start + frame / fps - clock.now()
        if wait > 0:
            clock.sleep(wait)
        result = call()
        now = clock.now() - start
        seconds.append(now - frame / fps)
        returned.append(result)
        frame = max(frame + 1, math.floor(now * fps))
    return Burst(seconds, returned, due - len(seconds), fps)


@dataclass(frozen=True)
class Traffic:
    """The loads that a contender meets in each of its turns, back to back first, and how many frames of each."""

    loads: tuple[Load, ...]
    frames: int

    def __post_init__(self) -> None:
        if self.loads[0] != BACK_TO_BACK:
            raise SettingsError(f"loads start with {self.loads[0].title!r}: back to back must come first")

    def carry(self, call: Callable[[int], T], clock: Clock = REAL) -> dict[Load, Burst[T]]:
        """One turn; `call` is told the batch."""
        bursts: dict[Load, Burst[T]] = {}
        for load in self.loads:
            once = functools.partial(call, load.batch)
            for _ in range(WARM):
                once()
            fps = load.fps
            if load.busy is not None:
                fps = load.busy / bursts[BACK_TO_BACK].percentile(50)
            if fps is None:
                bursts[load] = take_back_to_back(once, max(2, self.frames // load.batch), clock)
            else:
                bursts[load] = take_paced(once, fps, self.frames, clock)
        return bursts


def merge(bursts: Iterable[Burst[T]]) -> Burst[T]:
    """The same load in several turns; its fps is the median of theirs."""
    parts = list(bursts)
    rates = [part.fps for part in parts if part.fps is not None]
    return Burst(
        [seconds for part in parts for seconds in part.seconds],
        [result for part in parts for result in part.returned],
        sum(part.missed for part in parts),
        percentile(rates, 50) if rates else None,
    )


def make_traffic(fps: tuple[float, ...], batch: int, frames: int) -> Traffic:
    """Back to back; half busy, the rate that every line keeps up with; the cameras' rates; batches 2, 4, … up to
    `batch`."""
    for rate in fps:
        if not 0 < rate < math.inf:
            raise SettingsError(f"--fps {rate:g}: above 0 is needed")
    if batch < 1:
        raise SettingsError(f"--batch {batch}: at least 1 is needed")
    sizes = [2**power for power in range(1, 32) if 2**power < batch] + [batch] * (batch > 1)
    paced = (Load(busy=0.5), *(Load(fps=rate) for rate in fps))
    return Traffic((BACK_TO_BACK, *paced, *(Load(batch=size) for size in sizes)), frames)
