"""The router: a thread that makes results from outcomes, passes them to subscribers, and counts and times them."""

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
    """Passes every result to its subscribers, one after another, and counts it in its source's meter.

    Args:
        meters: The meters by the names of their sources.
        depth: The most outcomes that wait; beyond this number `put` waits for room.
    """

    def __init__(self, meters: Mapping[str, Meter], depth: int) -> None:
        super().__init__(name="results", daemon=True)
        self._meters = meters
        self._outcomes: queue.Queue[tuple[Frame, Outcome | None, float] | None] = queue.Queue(depth)
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call a function with every result from now on.

        Args:
            subscriber: Called in the router's thread, where it holds up all results until it returns.
        """
        self._subscribers.append(subscriber)

    def put(self, frame: Frame, outcome: Outcome | None, waited: float) -> None:
        """Take a frame's outcome; wait while there is no room.

        Args:
            frame: The frame that was inspected.
            outcome: Its outcome; None for a frame that was given up.
            waited: The milliseconds that the frame waited in its queue.
        """
        self._outcomes.put((frame, outcome, waited))

    @property
    def waiting(self) -> int:
        """The number of outcomes that wait to be passed on."""
        return self._outcomes.qsize()

    def close(self, seconds: float) -> None:
        """Let `run` end once all waiting outcomes are passed on.

        Args:
            seconds: Seconds to wait for room in the queue; without room `run` does not end.
        """
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
