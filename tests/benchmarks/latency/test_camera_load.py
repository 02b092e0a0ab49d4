"""Pacing on a clock that only moves when it is told to: lateness, misses, and what a turn consists of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from goodparts.benchmarks.latency.camera_load import (
    BACK_TO_BACK,
    WARM,
    Burst,
    Clock,
    Load,
    Traffic,
    make_traffic,
    merge,
    take_back_to_back,
    take_paced,
)
from goodparts.runtime.core.errors import SettingsError


@dataclass
class Time:
    """A clock whose work and sleep take no real time; oversleep: what every sleep takes too long."""

    seconds: float = 100.0
    oversleep: float = 0.0
    slept: list[float] = field(default_factory=list)

    def work(self, *durations: float) -> Callable[[], float]:
        """A call that takes each duration in turn, the last one ever after."""
        left = list(durations)

        def call() -> float:
            took = left.pop(0) if len(left) > 1 else left[0]
            self.seconds += took
            return took

        return call

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds + self.oversleep

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.seconds, self.sleep)


def test_back_to_back_is_each_calls_own_time() -> None:
    time = Time()
    burst = take_back_to_back(time.work(1.0, 2.0, 3.0), 3, time.clock)
    assert burst.seconds == [1.0, 2.0, 3.0]
    assert burst.returned == [1.0, 2.0, 3.0]
    assert (burst.missed, burst.fps, time.slept) == (0, None, [])


def test_paced_waits_until_a_frame_is_due() -> None:
    time = Time()
    burst = take_paced(time.work(0.25), fps=2.0, due=3, clock=time.clock)
    assert burst.seconds == [0.25, 0.25, 0.25]
    assert time.slept == [0.25, 0.25]
    assert (burst.missed, burst.miss_rate, burst.fps) == (0, 0.0, 2.0)


def test_waking_late_counts() -> None:
    time = Time(oversleep=0.125)
    burst = take_paced(time.work(0.25), fps=2.0, due=2, clock=time.clock)
    assert burst.seconds == [0.25, 0.375]


def test_a_slow_frame_makes_the_next_one_late() -> None:
    time = Time()  # due at 0, 1, 2, 3
    burst = take_paced(time.work(1.5, 0.25), fps=1.0, due=4, clock=time.clock)
    assert burst.seconds == [1.5, 0.75, 0.25, 0.25]  # the second was due at 1 and taken at 1.5
    assert burst.missed == 0


def test_too_slow_a_line_takes_the_newest_frame_and_misses_the_rest() -> None:
    time = Time()
    burst = take_paced(time.work(2.5), fps=1.0, due=6, clock=time.clock)
    # taken at 0, 2.5 and 5: frames 0, 2 and 5
    assert burst.seconds == [2.5, 3.0, 2.5]
    assert burst.missed == 3
    assert burst.miss_rate == 0.5


def test_frames_at_the_end_are_missed_too() -> None:
    time = Time()
    burst = take_paced(time.work(60.0), fps=1.0, due=10, clock=time.clock)
    assert (burst.seconds, burst.missed) == ([60.0], 9)


def test_a_turn_has_every_load_warmed_up() -> None:
    time = Time()
    batches: list[int] = []

    def call(batch: int) -> int:
        batches.append(batch)
        time.seconds += 0.25 * batch
        return batch

    traffic = Traffic((BACK_TO_BACK, Load(busy=0.5), Load(fps=1.0), Load(batch=4)), frames=8)
    bursts = traffic.carry(call, time.clock)
    assert list(bursts) == list(traffic.loads)
    assert [len(burst.seconds) for burst in bursts.values()] == [8, 8, 8, 2]
    assert len(batches) == 8 + 8 + 8 + 2 + 4 * WARM
    assert bursts[Load(busy=0.5)].fps == 2.0  # a quarter of a second's work every half
    assert bursts[Load(batch=4)].seconds == [1.0, 1.0]


def test_merging_turns() -> None:
    merged = merge([Burst([1.0], ["a"], 1, 10.0), Burst([3.0, 2.0], ["b", "c"], 0, 20.0)])
    assert merged == Burst([1.0, 3.0, 2.0], ["a", "b", "c"], 1, 15.0)
    assert merged.percentile(50) == 2.0
    assert merged.miss_rate == 0.25


@pytest.mark.parametrize(("batch", "sizes"), [(1, []), (2, [2]), (6, [2, 4, 6]), (8, [2, 4, 8])])
def test_loads(batch: int, sizes: list[int]) -> None:
    loads = make_traffic((30.0, 7.5), batch, frames=20).loads
    assert [load.title for load in loads] == [
        "back to back", "busy 50%", "30 fps", "7.5 fps", *(f"batch {size}" for size in sizes),
    ]  # fmt: skip
    assert [load.paced for load in loads] == [False, True, True, True, *(False for _ in sizes)]


def test_loads_that_cannot_be() -> None:
    with pytest.raises(SettingsError, match="--fps 0: above 0"):
        make_traffic((0.0,), 1, 20)
    with pytest.raises(SettingsError, match="--fps nan"):
        make_traffic((float("nan"),), 1, 20)
    with pytest.raises(SettingsError, match="--batch 0"):
        make_traffic((), 0, 20)
    with pytest.raises(SettingsError, match="back to back must come first"):
        Traffic((Load(fps=30.0),), 20)
