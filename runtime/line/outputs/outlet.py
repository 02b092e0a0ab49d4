"""The outlet: a thread for one output, so that no output holds up another or the inspection."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque

from ...core.errors import one_line
from ..context import LineContext
from ..results import Result
from .output import Output

LOSS_PERIOD = 60.0
"""Seconds between two reports of lost results."""


class Outlet(threading.Thread):
    """Delivers results to one output in order. While deliveries fail, it repeats them with back-off.

    Args:
        output: The output that receives the results.
        context: The context that the line's threads share.
        may_wait: Whether a slow output holds up the line instead of losing results. While deliveries fail, the oldest
            waiting results are lost in any case.

    Attributes:
        lost: The number of results that were not delivered.
        error: The reason why the last delivery failed, in one line; empty if it succeeded.
    """

    def __init__(self, output: Output, context: LineContext, *, may_wait: bool) -> None:
        super().__init__(name=f"output {output.name}", daemon=True)
        self.lost, self.error = 0, ""
        self._output, self._may_wait = output, may_wait
        self._report, self._backoff = context.report, context.make_backoff()
        self._results: deque[Result] = deque()
        self._is_delivering = self._closing = False
        self._changed = threading.Condition()
        self._loss_reported, self._next_loss_report = 0, 0.0

    @property
    def output_name(self) -> str:
        """The name of the output in messages."""
        return self._output.name

    @property
    def failing(self) -> bool:
        """Whether the last delivery failed."""
        return self._backoff.failures > 0

    @property
    def waiting(self) -> int:
        """The number of results that wait, without the one that is being delivered."""
        return len(self._results)

    def put(self, result: Result) -> None:
        """Add a result to those that wait, if the output wants it.

        Args:
            result: The result to deliver.
        """
        if not self._output.wants(result):
            return
        with self._changed:
            if self._may_wait:
                self._changed.wait_for(
                    lambda: len(self._results) < self._output.depth or self._backoff.failures or self._closing
                )
            if len(self._results) >= self._output.depth:
                self._results.popleft()
                self.lost += 1
            self._results.append(result)
            self._changed.notify_all()
        self._report_loss()

    def reopen(self) -> None:
        """Have the output open its file anew. A failure is reported, and the next delivery tries again."""
        try:
            self._output.reopen()
        except Exception as error:
            self._report(f"{self.output_name}: {one_line(error)}")

    def run(self) -> None:
        while (result := self._next()) is not None:
            self._deliver(result)
            self._report_loss()
        with contextlib.suppress(Exception):  # every result is delivered or counted by now
            self._output.close()

    def close(self) -> None:
        """Let `run` end once all waiting results are delivered. A delivery that fails from now on is not repeated."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def settle(self) -> None:
        """Count all results that are not delivered by now as lost, and report the number of losses since the start."""
        with self._changed:
            self.lost += len(self._results) + (self._is_delivering and self.is_alive())
            self._results.clear()
        if self.lost:
            self._report(f"{self.output_name}: {self.lost} results were not delivered")

    def _report_loss(self) -> None:
        """Report the number of lost results if it has grown, at most once in LOSS_PERIOD seconds."""
        now = time.monotonic()
        with self._changed:
            is_due = self.lost > self._loss_reported and now >= self._next_loss_report and not self._closing
            if not is_due:
                return
            self._loss_reported, self._next_loss_report = self.lost, now + LOSS_PERIOD
            lost = self.lost
        reason = "fail" if self.failing else f"are too slow: {self._output.depth} results wait"
        self._report(f"{self.output_name}: results lost so far: {lost}, the oldest first; deliveries {reason}")

    def _next(self) -> Result | None:
        """Wait for a result and return it; return None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._results or self._closing)
            result = self._results.popleft() if self._results else None
            self._is_delivering = result is not None
            self._changed.notify_all()
            return result

    def _deliver(self, result: Result) -> None:
        while True:
            try:
                self._output.send(result)
            except BaseException as error:  # a user's hook may even call sys.exit
                with self._changed:
                    self.error = one_line(error)
                    delay = self._backoff.next()
                    self._changed.notify_all()
                    if self._backoff.failures == 1:
                        self._report(f"{self.output_name}: {self.error}; will keep trying, first in {delay:g} s")
                    if self._closing:
                        self.lost += 1
                        return
                    self._changed.wait_for(lambda: self._closing, delay)
                continue
            self.error = ""
            if self._backoff.reset():
                self._report(f"{self.output_name}: works again; results lost so far: {self.lost}")
            return
