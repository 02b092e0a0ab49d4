"""The router: a thread that makes results of outcomes, hands them to whoever subscribed, and meters them."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping

from ..core.errors import GoodpartsError
from .frames import Frame
from .meter import Meter
from .results import Outcome, Result, make_result

Subscriber = Callable[[Result], None]


class Router(threading.Thread):
    """Hands every result to its subscribers, one after another, and counts it in its source's meter.

    meters: by name of source; depth: outcomes that wait before `put` does.
    """

    def __init__(self, meters: Mapping[str, Meter], depth: int) -> None:
        super().__init__(name="results", daemon=True)
        self._meters = meters
        self._outcomes: queue.Queue[tuple[Frame, Outcome | None, float] | None] = queue.Queue(depth)
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        """Have every result from now on given to a function, which is called in the router's thread."""
        self._subscribers.append(subscriber)

    def put(self, frame: Frame, outcome: Outcome | None, waited: float) -> None:
        """Take a frame's outcome, None for a frame that was given up, and the milliseconds it waited in its queue."""
        self._outcomes.put((frame, outcome, waited))

    @property
    def waiting(self) -> int:
        """Outcomes that wait to be handed on."""
        return self._outcomes.qsize()

    def close(self, seconds: float) -> None:
        """Let `run` end once what waits is handed on; give up after so many seconds in which there is no room."""
        with contextlib.suppress(queue.Full):
            self._outcomes.put(None, timeout=seconds)

    def run(self) -> None:
        while (item := self._outcomes.get()) is not None:
            frame, outcome, waited = item
            meter = self._meters[frame.source]
            start = time.perf_counter()
            if outcome is not None:
                result = make_result(frame, outcome)
                for subscriber in self._subscribers:
                    subscriber(result)
            if outcome is None or isinstance(outcome, GoodpartsError):
                meter.add_failed()
                continue
            inspection, decision = outcome
            end = time.perf_counter()
            stages = (inspection.milliseconds[stage] for stage in ("preprocess", "encode", "score"))
            meter.add_inspected((waited, *stages, (end - start) * 1e3, (end - frame.arrival) * 1e3), decision)
