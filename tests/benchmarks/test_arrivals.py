"""Arrival patterns on a clock that moves only by work and sleep: latency, missed frames, and the parts of a round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from goodparts.benchmarks.arrivals import (
    BACK_TO_BACK,
    WARMUP_CALLS,
    ArrivalPattern,
    Clock,
    Latencies,
    LatencyTest,
    StageMilliseconds,
    call_at_rate,
    call_back_to_back,
    make_latency_test,
    merge_rounds,
)
from goodparts.runtime.core.errors import SettingsError


@dataclass
class Time:
    """A clock whose work and sleep take no real time. oversleep: by how much every sleep is too long."""

    seconds: float = 100.0
    oversleep: float = 0.0
    slept: list[float] = field(default_factory=list)

    def work(self, *durations: float) -> Callable[[], StageMilliseconds]:
        """Return a call that takes each duration in turn, and then always the last one."""
        left = list(durations)

        def call() -> StageMilliseconds:
            duration = left.pop(0) if len(left) > 1 else left[0]
            self.seconds += duration
            return {"work": duration}

        return call

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds + self.oversleep

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.seconds, self.sleep)


def test_back_to_back_is_each_calls_own_time() -> None:
    time = Time()
    latencies = call_back_to_back(time.work(1.0, 2.0, 3.0), 3, time.clock)
    assert latencies.seconds == [1.0, 2.0, 3.0]
    assert latencies.stages == [{"work": 1.0}, {"work": 2.0}, {"work": 3.0}]
    assert (latencies.missed, latencies.fps, time.slept) == (0, None, [])


def test_paced_waits_until_a_frame_is_due() -> None:
    time = Time()
    latencies = call_at_rate(time.work(0.25), fps=2.0, frames=3, clock=time.clock)
    assert latencies.seconds == [0.25, 0.25, 0.25]
    assert time.slept == [0.25, 0.25]
    assert (latencies.missed, latencies.miss_rate, latencies.fps) == (0, 0.0, 2.0)


def test_waking_late_counts() -> None:
    time = Time(oversleep=0.125)
    latencies = call_at_rate(time.work(0.25), fps=2.0, frames=2, clock=time.clock)
    assert latencies.seconds == [0.25, 0.375]


def test_a_slow_frame_makes_the_next_one_late() -> None:
    time = Time()  # frames are due at 0, 1, 2 and 3
    latencies = call_at_rate(time.work(1.5, 0.25), fps=1.0, frames=4, clock=time.clock)
    assert latencies.seconds == [1.5, 0.75, 0.25, 0.25]  # the second was due at 1 and taken at 1.5
    assert latencies.missed == 0


def test_too_slow_a_line_takes_the_newest_frame_and_misses_the_rest() -> None:
    time = Time()
    latencies = call_at_rate(time.work(2.5), fps=1.0, frames=6, clock=time.clock)
    # At 0, 2.5 and 5 it takes the frames 0, 2 and 5.
    assert latencies.seconds == [2.5, 3.0, 2.5]
    assert latencies.missed == 3
    assert latencies.miss_rate == 0.5


def test_frames_at_the_end_are_missed_too() -> None:
    time = Time()
    latencies = call_at_rate(time.work(60.0), fps=1.0, frames=10, clock=time.clock)
    assert (latencies.seconds, latencies.missed) == ([60.0], 9)


def test_a_round_has_every_pattern_warmed_up() -> None:
    time = Time()
    batches: list[int] = []

    def call(batch: int) -> StageMilliseconds:
        batches.append(batch)
        time.seconds += 0.25 * batch
        return {}

    half_busy, paced, batched = ArrivalPattern(utilisation=0.5), ArrivalPattern(fps=1.0), ArrivalPattern(batch=4)
    test = LatencyTest((BACK_TO_BACK, half_busy, paced, batched), frames=8)
    by_pattern = test.run(call, time.clock)
    assert list(by_pattern) == list(test.patterns)
    assert [len(latencies.seconds) for latencies in by_pattern.values()] == [8, 8, 8, 2]
    assert len(batches) == 8 + 8 + 8 + 2 + 4 * WARMUP_CALLS
    assert by_pattern[half_busy].fps == 2.0  # a quarter of a second of work in every half second
    assert by_pattern[batched].seconds == [1.0, 1.0]


def test_merging_rounds() -> None:
    first, second, third = {"a": 1.0}, {"b": 2.0}, {"c": 3.0}
    merged = merge_rounds([Latencies([1.0], [first], 1, 10.0), Latencies([3.0, 2.0], [second, third], 0, 20.0)])
    assert merged == Latencies([1.0, 3.0, 2.0], [first, second, third], 1, 15.0)
    assert merged.percentile(50) == 2.0
    assert merged.miss_rate == 0.25


@pytest.mark.parametrize(("batch", "sizes"), [(1, []), (2, [2]), (6, [2, 4, 6]), (8, [2, 4, 8])])
def test_patterns(batch: int, sizes: list[int]) -> None:
    patterns = make_latency_test((30.0, 7.5), batch, frames=20).patterns
    assert [pattern.title for pattern in patterns] == [
        "back to back", "busy 50%", "30 fps", "7.5 fps", *(f"batch {size}" for size in sizes),
    ]  # fmt: skip
    assert [pattern.paced for pattern in patterns] == [False, True, True, True, *(False for _ in sizes)]


def test_a_busy_line_is_timed_back_to_back_first() -> None:
    with pytest.raises(SettingsError, match="back to back must come first"):
        LatencyTest((ArrivalPattern(fps=30.0),), 20)
