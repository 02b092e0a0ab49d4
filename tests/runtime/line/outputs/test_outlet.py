"""What carries results to an output."""

from __future__ import annotations

import threading

from goodparts.runtime.line.context import LineContext
from goodparts.runtime.line.outputs.outlet import Outlet
from goodparts.runtime.line.results import Result

from tests.runtime.line.outputs.results import make_result


class Failing:
    """Refuses so many times, then takes everything."""

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

    def close(self) -> None:
        self.closed = True


def deliver(output: Failing, count: int, messages: list[str]) -> Outlet:
    """Results that were all put before the output's thread began."""
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
    outlet.finish(30)
    assert output.got == [0, 1, 2, 3]
    assert output.closed
    assert messages == [
        "double: No space left on device; tried again from 0.001 s on",
        "double: works again, 0 results lost so far",
    ]


def test_of_too_many_results_the_oldest_are_lost_and_counted() -> None:
    output, messages = Failing(0), list[str]()
    deliver(output, 7, messages).finish(30)
    assert output.got == [3, 4, 5, 6]
    assert messages == ["double: 3 results were not delivered"]
