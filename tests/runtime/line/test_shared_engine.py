from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from goodparts.runtime.backends.tensors import Outputs
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.line import shared_engine as batching
from goodparts.runtime.line.shared_engine import BatchingSession, sharing_pays


class Recorder:
    """A session that returns each view's first pixel. It notes the sizes of its passes and holds each of them."""

    description = "double"

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.conditions: list[Conditions | None] = []
        self.entered, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.broken = False

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:
        self.sizes.append(len(views))
        self.conditions.append(conditions)
        self.entered.release()
        self.go.acquire()
        if self.broken:
            raise RuntimeError("device lost")
        return {"pixel": views[:, 0, 0, 0].astype(np.float32)}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(1e-4)


def run_while_busy(
    recorder: Recorder, bound: float, counts: list[int], conditions: Sequence[Conditions | None] = (None,) * 4
) -> list[object]:
    """Return the results of requests with these numbers of views; all but the first arrive while the first runs."""
    session = BatchingSession(recorder, bound)
    results: list[object] = [None] * len(counts)

    def ask(index: int) -> None:
        try:
            views = np.full((counts[index], 2, 2, 3), index, np.uint8)
            results[index] = session.run(views, conditions[index])["pixel"]
        except RuntimeError as error:
            results[index] = error

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(counts))]
    threads[0].start()
    recorder.entered.acquire()
    for number, thread in enumerate(threads[1:], start=1):
        thread.start()
        wait_until(lambda number=number: len(session._waiting) == number)  # type: ignore[misc]
    for _ in threads:
        recorder.go.release()
    for thread in threads:
        thread.join(30)
    return results


def test_waiting_requests_share_the_next_pass_and_each_gets_its_own_result() -> None:
    recorder = Recorder()
    results = run_while_busy(recorder, 1e9, [1, 2, 1, 3])
    assert recorder.sizes == [1, 6]
    for index, (result, count) in enumerate(zip(results, [1, 2, 1, 3], strict=True)):
        np.testing.assert_array_equal(result, np.full(count, index, np.float32))


def test_only_views_with_equal_conditions_share_a_pass() -> None:
    recorder = Recorder()
    one, same, other = (Conditions({"prompts": np.full((2, 3), value, np.float32)}) for value in (1, 1, 2))
    results = run_while_busy(recorder, 1e9, [1, 2, 1, 3, 1], [None, one, other, same, None])
    assert recorder.sizes == [1, 5, 1, 1]
    assert recorder.conditions == [None, one, other, None]
    for index, (result, count) in enumerate(zip(results, [1, 2, 1, 3, 1], strict=True)):
        np.testing.assert_array_equal(result, np.full(count, index, np.float32))


def test_beyond_the_bound_nothing_is_shared() -> None:
    recorder = Recorder()
    run_while_busy(recorder, 0.0, [1, 2, 3])
    assert recorder.sizes == [1, 2, 3]


def test_a_failed_pass_fails_for_all_that_shared_it() -> None:
    recorder = Recorder()
    recorder.broken = True
    results = run_while_busy(recorder, 1e9, [1, 1, 1])
    assert [str(result) for result in results] == ["device lost"] * 3


def test_a_session_has_the_description_of_the_one_that_it_wraps() -> None:
    assert BatchingSession(Recorder(), 1.0).description == "double"


def test_the_results_of_a_shared_pass_do_not_wait_for_the_next_pass() -> None:
    recorder = Recorder()
    session = BatchingSession(recorder, 1000.0)
    threads = [threading.Thread(target=session.run, args=(np.zeros((1, 2, 2, 3), np.uint8),)) for _ in range(5)]
    threads[0].start()
    recorder.entered.acquire()
    for number, thread in enumerate(threads[1:4], start=1):
        thread.start()
        wait_until(lambda number=number: len(session._waiting) == number)  # type: ignore[misc]
    recorder.go.release()
    recorder.entered.acquire()  # the pass of the three
    threads[4].start()
    wait_until(lambda: len(session._waiting) == 1)
    recorder.go.release()
    recorder.entered.acquire()  # the pass of the last one, which is held
    for thread in threads[:4]:
        thread.join(30)
        assert not thread.is_alive()
    recorder.go.release()
    threads[4].join(30)
    assert recorder.sizes == [1, 3, 1]


@pytest.mark.parametrize(("each", "further", "pays"), [(4.0, 3.0, True), (4.0, 4.0, False)])
def test_passes_are_shared_only_if_that_is_faster(
    each: float, further: float, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0

    class Timed(Recorder):
        def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:  # noqa: ARG002
            nonlocal clock
            clock += each + further * (len(views) - 1)
            return {}

    monkeypatch.setattr(batching, "time", SimpleNamespace(perf_counter=lambda: clock))
    assert sharing_pays(Timed(), 2) == pays
