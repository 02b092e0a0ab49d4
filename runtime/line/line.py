"""A production line while it runs: it starts its threads, watches over them, and ends them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from .context import LineContext
from .messages import Messages
from .outputs.outlet import Outlet
from .outputs.reject_index import RejectIndex
from .pipeline import Pipeline
from .router import Router
from .shared_engine import SharedEngine
from .status import SourceStatus

_LOOK = 0.1
"""Seconds between two checks of whether the line is to end: a signal handler may only set a flag."""
_STAGE_SECONDS = 10.0
"""The most seconds that each stage (inspecting, passing on, delivering) may take at the end to empty its queue."""
_HURRIED_SECONDS = 1.0
"""The same after a second request to end."""
_CAPTURE_SECONDS = 1.0
"""The most seconds that the captures may take to end."""


class Line:
    """A production line: pipelines inspect, the router passes results on, and outlets deliver them.

    `open_line` makes a line.

    Args:
        pipelines: One pipeline for each source, in the order of the settings.
        shared_engine: The engine of all pipelines.
        router: Passes results on to the outlets.
        outlets: One outlet for each output.
        messages: Keeps the last messages.
        context: The context that the line's threads share.
        reject_index: The names of the saved rejects; None if rejects are not saved.
        poll: Seconds between two checks of the recipes' files, and between two calls of `run`'s argument.

    Attributes:
        threads_left: Names of the threads that did not end with `run`, such as one that waits for a camera.
    """

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        shared_engine: SharedEngine,
        router: Router,
        outlets: Sequence[Outlet],
        messages: Messages,
        context: LineContext,
        *,
        reject_index: RejectIndex | None = None,
        poll: float = 1.0,
    ) -> None:
        self.pipelines, self.shared_engine, self.router, self.outlets = pipelines, shared_engine, router, outlets
        self.messages, self.reject_index, self._context, self._poll = messages, reject_index, context, poll
        self.threads_left: list[str] = []
        self._all_ended = threading.Event()
        self._stop_count = 0
        self._reopen_is_asked = False

    def stop(self) -> None:
        """Ask the line to end. It first empties its queues; a second call shortens the time for that.

        `stop` may be called from a signal handler: it takes no lock and never waits.
        """
        self._stop_count += 1

    def reopen_outputs(self) -> None:
        """Ask the outputs to open renamed files anew. Like `stop`, this may be called from a signal handler."""
        self._reopen_is_asked = True

    @property
    def is_stopped(self) -> bool:
        """Whether somebody has asked the line to end."""
        return self._stop_count > 0

    def run(self, every_poll: Callable[[], None]) -> bool:
        """Run until all sources have ended or the line is asked to stop.

        Args:
            every_poll: Called every `poll` seconds. An exception from it ends the line as `stop` does, and is then
                raised to the caller.

        Returns:
            Whether nothing was lost when the line ended: every picture that was taken has been inspected, and every
            result has been delivered. Losses are reported.
        """
        refresher = threading.Thread(target=self._refresh_recipes, name="recipes", daemon=True)
        waiter = threading.Thread(target=self._wait_for_stations, name="end", daemon=True)
        stations = [pipeline.station for pipeline in self.pipelines]
        captures = [pipeline.capture for pipeline in self.pipelines]
        try:
            for thread in (*self.outlets, self.router, *stations, *captures, refresher, waiter):
                thread.start()
            next_poll = time.monotonic() + self._poll
            while not (self._all_ended.wait(min(_LOOK, self._poll)) or self._stop_count or self._context.stop.is_set()):
                if self._reopen_is_asked:
                    self._reopen_is_asked = False
                    for outlet in self.outlets:
                        outlet.reopen()
                if time.monotonic() >= next_poll:
                    every_poll()
                    next_poll = time.monotonic() + self._poll
        finally:
            is_complete = self._end()
        return is_complete

    def status(self) -> list[SourceStatus]:
        """Return the status of each source now, in the order of the settings."""
        return [pipeline.status() for pipeline in self.pipelines]

    def _end(self) -> bool:
        """Let each stage empty its queue, one stage after the other; return whether nothing was lost."""
        report = self._context.report
        self._context.stop.set()
        is_complete = True
        for pipeline in self.pipelines:
            pipeline.queue.close()
        self._wait_for([pipeline.station for pipeline in self.pipelines])
        for pipeline in self.pipelines:
            if pipeline.station.is_alive():
                is_complete = False
                report(f"{pipeline.settings.name}: {pipeline.queue.waiting + 1} frames were not inspected at the end")
        self.router.close(self._seconds_left())
        self._wait_for([self.router])
        if self.router.is_alive():
            is_complete = False
            report(f"{self.router.waiting} results were not passed on at the end")
        lost_before = sum(outlet.lost for outlet in self.outlets)
        for outlet in self.outlets:
            outlet.close()
        self._wait_for(self.outlets)
        for outlet in self.outlets:
            outlet.settle()
        captures = [pipeline.capture for pipeline in self.pipelines]
        self._wait_for(captures, _CAPTURE_SECONDS)
        stations = [pipeline.station for pipeline in self.pipelines]
        threads: list[threading.Thread] = [*stations, self.router, *self.outlets, *captures]
        self.threads_left = [thread.name for thread in threads if thread.is_alive()]
        return is_complete and sum(outlet.lost for outlet in self.outlets) == lost_before

    def _seconds_left(self) -> float:
        return _STAGE_SECONDS if self._stop_count < 2 else _HURRIED_SECONDS

    def _wait_for(self, threads: Sequence[threading.Thread], seconds: float | None = None) -> None:
        """Wait until threads have ended: at most as long as a stage may take, and at most `seconds`."""
        start = time.monotonic()
        for thread in threads:
            while thread.is_alive() and time.monotonic() - start < min(self._seconds_left(), seconds or _STAGE_SECONDS):
                thread.join(_LOOK)

    def _refresh_recipes(self) -> None:
        """Have the stations use recipes whose files were replaced."""
        while not self._context.stop.wait(self._poll):
            for pipeline in self.pipelines:
                try:
                    pipeline.station.refresh()
                except Exception as error:  # the station itself recovers from an engine that fails
                    self._context.report(f"{pipeline.station.source}: the recipe cannot be changed now: {error}")

    def _wait_for_stations(self) -> None:
        for pipeline in self.pipelines:
            pipeline.station.join()
        self._all_ended.set()
