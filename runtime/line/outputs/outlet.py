"""Outlets: each output in a thread of its own, so that none holds up another, or the inspection."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ...core.errors import one_line
from ...core.preprocess import Array8
from ...inspection import Inspection
from ..capture import Backoff, Report


@dataclass(frozen=True, eq=False)
class Result:
    """What outputs are given of a frame. record: as it is written to JSON; line: its bytes, ending with a newline;
    source, decision: see the record ("error" for a frame without verdict); pixels and inspection: None for such."""

    source: str
    decision: str
    record: dict[str, Any]
    line: bytes
    pixels: Array8 | None
    inspection: Inspection | None


class Output(Protocol):
    """Where results go."""

    name: str
    depth: int
    """Results that wait while sending fails or is slow; then the oldest are lost, and counted."""

    def wants(self, result: Result) -> bool:
        """Whether this result is sent here."""

    def send(self, result: Result) -> None:
        """Deliver; any exception means that it was not, and it is tried again."""

    def close(self) -> None:
        """No more results."""


class Outlet(threading.Thread):
    """Delivers results to one output in order, again and again with back-off while it fails.

    wait: rather hold up the line than lose a result, where sending is merely slow; while it fails, the oldest are lost.
    lost: results that were not delivered.
    """

    def __init__(self, output: Output, report: Report, make_backoff: Callable[[], Backoff], wait: bool) -> None:
        super().__init__(name=f"output {output.name}", daemon=True)
        self.name_, self.lost = output.name, 0
        self._output, self._report, self._backoff, self._wait = output, report, make_backoff(), wait
        self._results: deque[Result] = deque()
        self._closing = False
        self._changed = threading.Condition()

    def put(self, result: Result) -> None:
        if not self._output.wants(result):
            return
        with self._changed:
            if self._wait:
                self._changed.wait_for(lambda: len(self._results) < self._output.depth or self._backoff.failures)
            if len(self._results) >= self._output.depth:
                self._results.popleft()
                self.lost += 1
            self._results.append(result)
            self._changed.notify_all()

    @property
    def failing(self) -> bool:
        """Whether the last try failed."""
        return self._backoff.failures > 0

    @property
    def waiting(self) -> int:
        """Results that are not delivered yet, but for one that is being."""
        return len(self._results)

    def run(self) -> None:
        while (result := self._next()) is not None:
            self._deliver(result)
        self._output.close()

    def finish(self, seconds: float) -> None:
        """Deliver what waits, for at most so long, and close the output; what fails now is lost."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.join(seconds)
        if self.is_alive():
            with self._changed:
                self.lost += len(self._results) + 1
                self._results.clear()
        if self.lost:
            self._report(f"{self.name_}: {self.lost} results were not delivered")

    def _next(self) -> Result | None:
        with self._changed:
            self._changed.wait_for(lambda: self._results or self._closing)
            result = self._results.popleft() if self._results else None
            self._changed.notify_all()
            return result

    def _deliver(self, result: Result) -> None:
        while True:
            try:
                self._output.send(result)
            except Exception as error:  # of files, networks and other people's code
                with self._changed:
                    delay = self._backoff.next()
                    self._changed.notify_all()
                    if self._backoff.failures == 1:
                        self._report(f"{self.name_}: {one_line(error)}; tried again from {delay:g} s on")
                    if self._closing:
                        self.lost += 1
                        return
                    self._changed.wait_for(lambda: self._closing, delay)
                continue
            if self._backoff.reset():
                self._report(f"{self.name_}: works again, {self.lost} results lost so far")
            return
