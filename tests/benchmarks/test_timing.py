"""Timing: the order of turns, percentiles, and contenders in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from goodparts.benchmarks.timing import Timing, Worker, check_same, in_this_process, interleave, percentile
from goodparts.runtime.core.errors import BackendError, ParityError, SettingsError

VARIABLE = "GOODPARTS_TEST_OF_TIMING"


def count_calls() -> Callable[[], int]:
    calls = 0

    def call() -> int:
        nonlocal calls
        calls += 1
        return calls

    return call


def read_variable() -> Callable[[], str | None]:
    return lambda: os.environ.get(VARIABLE)


def refuse(message: str) -> Callable[[], None]:
    raise SettingsError(message)


def die() -> Callable[[], None]:
    os._exit(3)


def test_percentiles() -> None:
    values = [float(value) for value in range(1, 102)]
    assert percentile(values, 50) == 51
    assert percentile(values, 99) == 100
    timing = Timing([3.0, 1.0, 2.0], ["a", "b", "c"])
    assert timing.median == 2
    assert 2.9 < timing.p99 < 3


def test_turns_alternate_and_run_backwards_every_other_round() -> None:
    order: list[str] = []

    def contender(name: str) -> Callable[[int], tuple[float, None]]:
        def turn(settle: int) -> tuple[float, None]:
            order.append(f"{name}{settle}")
            return 0.0, None

        return turn

    timings = interleave({"a": contender("a"), "b": contender("b")}, repeat=3, warmup=2, settle=1)
    assert order == ["a1", "b1", "a1", "b1", "b1", "a1", "a1", "b1"]  # warm-up: one settling call and one timed
    assert [len(timing.seconds) for timing in timings.values()] == [3, 3]


@pytest.mark.parametrize(("warmup", "settle", "last"), [(0, 0, 2), (1, 0, 3), (3, 2, 9)])
def test_untimed_calls(warmup: int, settle: int, last: int) -> None:
    timing = interleave({"it": in_this_process(count_calls())}, repeat=2, warmup=warmup, settle=settle)["it"]
    assert timing.results == [last - settle - 1, last]
    assert min(timing.seconds) >= 0


def test_worker_keeps_its_state_and_has_its_own_environment() -> None:
    with Worker(count_calls) as counter, Worker(read_variable, environment={VARIABLE: "there"}) as reader:
        assert counter(0)[1] == 1
        assert counter(2)[1] == 4
        assert reader(0)[1] == "there"
    assert VARIABLE not in os.environ


def test_worker_passes_its_errors_on() -> None:
    with Worker(refuse, "no such thing") as worker, pytest.raises(SettingsError, match="no such thing"):
        worker(0)
    with Worker(die) as worker, pytest.raises(BackendError, match="'die' ended early"):
        worker(0)


def test_a_worker_reports_when_it_is_prepared() -> None:
    with Worker(count_calls) as worker:
        worker.check()
        assert worker(0)[1] == 1
    with Worker(refuse, "no such thing") as worker, pytest.raises(SettingsError, match="no such thing"):
        worker.check()


@pytest.mark.parametrize("difference", [2e-3, float("nan")])
def test_different_results_are_not_timed(difference: float) -> None:
    check_same("losses", 1e-4, 1e-3)
    with pytest.raises(ParityError, match="not comparable"):
        check_same("losses", difference, 1e-3)
