"""An outlet delivers results to its output, also while the output fails."""

from __future__ import annotations

import re
import threading
import time

import pytest
from goodparts.runtime.line.context import LineContext
from goodparts.runtime.line.outputs import outlet as outlet_module
from goodparts.runtime.line.outputs.outlet import Outlet
from goodparts.runtime.line.results import Result

from tests.runtime.line.outputs.results import make_result


class Failing:
    """An output that fails a number of times and then accepts everything."""

    name = "double"
    depth = 4

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.got: list[int] = []
        self.closed = False

    def wants(self, result: Result) -> bool:
        return result.decision == "reject"

    def send(self, result: Result) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        self.got.append(result.record["frame"])

    def reopen(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def end(outlet: Outlet) -> None:
    outlet.close()
    outlet.join(30)
    outlet.settle()


def deliver(output: Failing, count: int, messages: list[str]) -> Outlet:
    """Return an outlet that is given all results before its thread starts."""
    outlet = Outlet(output, LineContext(messages.append, first_delay=1e-3), may_wait=False)
    for number in range(count):
        outlet.put(make_result(number))
        outlet.put(make_result(number, "good"))
    outlet.start()
    return outlet


def test_a_failing_output_is_reported_once_tried_again_and_loses_nothing() -> None:
    output, messages, healed = Failing(3), list[str](), threading.Event()

    def note(text: str) -> None:
        messages.append(text)
        if "works again" in text:
            healed.set()

    outlet = Outlet(output, LineContext(note, first_delay=1e-3), may_wait=False)
    for number in range(4):
        outlet.put(make_result(number))
    outlet.start()
    assert healed.wait(30)
    end(outlet)
    assert output.got == [0, 1, 2, 3]
    assert output.closed
    assert messages == [
        "double: No space left on device; will keep trying, first in 0.001 s",
        "double: works again; results lost so far: 0",
    ]


def test_beyond_the_depth_the_oldest_results_are_lost_and_counted() -> None:
    output, messages = Failing(0), list[str]()
    end(deliver(output, 7, messages))
    assert output.got == [3, 4, 5, 6]
    first = "double: results lost so far: 1, the oldest first; deliveries are too slow: 4 results wait"
    assert messages == [first, "double: 3 results were not delivered"]


def test_further_losses_are_reported_once_a_period(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet_module, "LOSS_PERIOD", 0.0)
    messages = list[str]()
    end(deliver(Failing(0), 6, messages))
    *losses, last = messages
    assert [re.search(r"lost so far: (\d)", message)[1] for message in losses] == ["1", "2"]
    assert last == "double: 2 results were not delivered"


def test_a_function_that_wants_to_exit_does_not_end_its_output() -> None:
    class Exiting(Failing):
        def send(self, result: Result) -> None:
            if self.failures:
                self.failures -= 1
                raise SystemExit
            super().send(result)

    output = Exiting(1)
    outlet = Outlet(output, LineContext(lambda _: None, first_delay=1e-3), may_wait=False)
    outlet.start()
    outlet.put(make_result(0))
    outlet.put(make_result(1))
    while not output.got:
        time.sleep(1e-3)
    end(outlet)
    assert output.got == [0, 1]


def test_results_that_a_hanging_output_holds_count_as_lost() -> None:
    class Hanging(Failing):
        going_on, reached = threading.Event(), threading.Event()

        def send(self, result: Result) -> None:  # noqa: ARG002
            self.reached.set()
            self.going_on.wait()

    output, messages = Hanging(0), list[str]()
    outlet = Outlet(output, LineContext(messages.append), may_wait=False)
    outlet.start()
    for number in range(3):
        outlet.put(make_result(number))
    output.reached.wait()
    outlet.close()
    outlet.settle()
    assert messages == ["double: 3 results were not delivered"]
    output.going_on.set()
    outlet.join(30)
