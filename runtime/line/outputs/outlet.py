"""Outlets: each output in a thread of its own, so that none holds up another, or the inspection."""

from __future__ import annotations

import threading
from collections import deque

from ...core.errors import one_line
from ..context import LineContext
from ..results import Result
from .output import Output


class Outlet(threading.Thread):
    """Delivers results to one output in order, again and again with back-off while it fails.

    may_wait: hold up the line rather than lose a result, where sending is merely slow; while it fails, the oldest are
    lost. lost: results that were not delivered.
    """

    def __init__(self, output: Output, context: LineContext, *, may_wait: bool) -> None:
        super().__init__(name=f"output {output.name}", daemon=True)
        self.lost = 0
        self._output, self._may_wait = output, may_wait
        self._report, self._backoff = context.report, context.make_backoff()
        self._results: deque[Result] = deque()
        self._closing = False
        self._changed = threading.Condition()

    @property
    def output_name(self) -> str:
        """What messages call the output."""
        return self._output.name

    @property
    def failing(self) -> bool:
        """Whether the last delivery failed."""
        return self._backoff.failures > 0

    @property
    def waiting(self) -> int:
        """Results that wait, without the one that is being delivered."""
        return len(self._results)

    def put(self, result: Result) -> None:
        """Take a result that the output wants."""
        if not self._output.wants(result):
            return
        with self._changed:
            if self._may_wait:
                self._changed.wait_for(lambda: len(self._results) < self._output.depth or self._backoff.failures)
            if len(self._results) >= self._output.depth:
                self._results.popleft()
                self.lost += 1
            self._results.append(result)
            self._changed.notify_all()

    def run(self) -> None:
        while (result := self._next()) is not None:
            self._deliver(result)
        self._output.close()

    def finish(self, seconds: float) -> None:
        """Deliver what waits, for at most so many seconds, and close the output; what fails now is lost."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.join(seconds)
        if self.is_alive():
            with self._changed:
                self.lost += len(self._results) + 1
                self._results.clear()
        if self.lost:
            self._report(f"{self.output_name}: {self.lost} results were not delivered")

    def _next(self) -> Result | None:
        """Wait for a result and return it; return None at the end."""
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
                        self._report(f"{self.output_name}: {one_line(error)}; tried again from {delay:g} s on")
                    if self._closing:
                        self.lost += 1
                        return
                    self._changed.wait_for(lambda: self._closing, delay)
                continue
            if self._backoff.reset():
                self._report(f"{self.output_name}: works again, {self.lost} results lost so far")
            return
