"""A production line while it runs: its threads are started, kept going, and brought to an end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from .context import LineContext
from .messages import Messages
from .outputs.outlet import Outlet
from .pipeline import Pipeline
from .router import Router
from .shared_engine import SharedEngine
from .status import SourceStatus


class Line:
    """A production line: pipelines inspect, the router hands results on, outlets deliver them. open_line makes one.

    poll: seconds between looks at the recipes' files, and between calls of `run`'s argument.
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
        poll: float = 1.0,
    ) -> None:
        self.pipelines, self.shared_engine, self.router, self.outlets = pipelines, shared_engine, router, outlets
        self.messages, self._context, self._poll = messages, context, poll
        self._all_ended = threading.Event()

    def run(self, every_poll: Callable[[], None]) -> None:
        """Run until all sources have ended, or the context's `stop` is set.

        every_poll: called every `poll` seconds; what it raises, or a signal, ends the line in order too.
        """
        refresher = threading.Thread(target=self._refresh_recipes, name="recipes", daemon=True)
        waiter = threading.Thread(target=self._wait_for_stations, name="end", daemon=True)
        stations = [pipeline.station for pipeline in self.pipelines]
        captures = [pipeline.capture for pipeline in self.pipelines]
        for thread in (*self.outlets, self.router, *stations, *captures, refresher, waiter):
            thread.start()
        try:
            while not (self._all_ended.wait(self._poll) or self._context.stop.is_set()):
                every_poll()
        finally:
            self._context.stop.set()
            for pipeline in self.pipelines:
                pipeline.queue.close()
            for station in stations:
                station.join(10.0)
            self.router.finish(10.0)
            for outlet in self.outlets:
                outlet.finish(10.0)
            for capture in captures:
                capture.join(1.0)  # one that waits for a camera ends with the process

    def status(self) -> list[SourceStatus]:
        """Return how each source stands now, in the order of the settings."""
        return [pipeline.status() for pipeline in self.pipelines]

    def lost(self) -> dict[str, int]:
        """Return how many results each output could not deliver, by its name."""
        return {outlet.output_name: outlet.lost for outlet in self.outlets}

    def _refresh_recipes(self) -> None:
        """Take recipes that are replaced."""
        while not self._context.stop.wait(self._poll):
            for pipeline in self.pipelines:
                try:
                    pipeline.station.refresh()
                except Exception as error:  # an engine that fails just now is the station's own affair
                    self._context.report(f"{pipeline.station.source}: the recipe cannot be changed now: {error}")

    def _wait_for_stations(self) -> None:
        for pipeline in self.pipelines:
            pipeline.station.join()
        self._all_ended.set()
