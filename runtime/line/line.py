"""The line: sources, stations and outputs put together, run, and brought to an end."""

from __future__ import annotations

import datetime
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ..core.errors import GoodpartsError, SettingsError
from ..core.view import Box, read_mask
from ..describe import as_record
from ..engine.engine import Engine
from ..page.page import Page
from ..page.state import Messages
from ..recipe.signing import Trust
from .capture import Backoff, Capture, Frame, FrameQueue, Report
from .meter import Gauges, Meter, prometheus_text, status_table, totals
from .metrics import MetricsServer
from .outputs.hook import Hook, load_function
from .outputs.json_lines import JsonLines, StandardOutput, read_inspected
from .outputs.network import Mqtt, Webhook
from .outputs.outlet import Outlet, Output, Result
from .outputs.rejects import Rejects
from .settings import LineSettings, OutputSettings, SourceSettings
from .shared_engine import SharedEngine
from .sources.folder import WatchedFolder
from .sources.source import Source, make_source
from .station import Outcome, Product, Smoothing, Station


class Line:
    """Everything that runs. Opened and checked when made; `run` blocks until all sources have ended or `stop` is set.

    first_delay: seconds before the first try again of whatever fails; poll: seconds between looks at recipes' files,
    and calls of `run`'s argument.
    """

    def __init__(self, settings: LineSettings, report: Report, *, first_delay: float = 1.0, poll: float = 1.0) -> None:
        self.stop = threading.Event()
        self.settings, self._poll = settings, poll
        messages, tell = Messages(), report
        self._report = report = messages.teed(tell)
        self._make_backoff = partial(Backoff, first_delay)
        self._over = threading.Event()
        self._results: queue.Queue[tuple[Frame, Outcome, float] | None] = queue.Queue(4 * len(settings.source))
        bound = settings.batch_ms / 1e3 if len(settings.source) > 1 else 0.0
        self.shared = SharedEngine(partial(_open_engine, settings), bound)
        self._trust = None if settings.accept_signed is None else Trust.read(Path(settings.accept_signed))
        self.meters = {source.name: Meter(source.name) for source in settings.source}
        self._queues: list[FrameQueue] = []
        self._captures: list[Capture] = []
        self.stations: list[Station] = []
        for source in settings.source:
            self._add(source)
        every = any(frames.policy == "every" for frames in self._queues)
        self.outlets = [
            Outlet(output, report, self._make_backoff, wait=every and output.name == "json")
            for output in _make_outputs(settings.output, self.stop.set)
        ]
        port = settings.output.metrics
        self.metrics = None if port is None else MetricsServer(port, self.prometheus_text)
        self.page = None if settings.output.page is None else Page(self, settings.output, messages, tell)

    def run(self, each_time: Callable[[], None]) -> None:
        """Run; each_time is called every `poll` seconds, and what it raises, or a signal, ends the line in order."""
        emitter = threading.Thread(target=self._hand_on, name="results", daemon=True)
        keeper = threading.Thread(target=self._keep, name="recipes", daemon=True)
        waiter = threading.Thread(target=self._wait, name="end", daemon=True)
        for thread in (*self.outlets, emitter, *self.stations, *self._captures, keeper, waiter):
            thread.start()
        try:
            while not (self._over.wait(self._poll) or self.stop.is_set()):
                each_time()
        finally:
            self.stop.set()
            for frames in self._queues:
                frames.close()
            for station in self.stations:
                station.join(10.0)
            self._results.put(None)
            emitter.join(10.0)
            for outlet in self.outlets:
                outlet.finish(10.0)
            for capture in self._captures:
                capture.join(1.0)  # one that waits for a camera ends with the process
            if self.metrics is not None:
                self.metrics.close()
            if self.page is not None:
                self.page.close()

    def totals(self) -> str:
        """What became of all frames since the start, in one line."""
        return totals(self.gauges())

    def status_table(self) -> list[str]:
        """What happens now, with every stage: a head, and a line per source."""
        return status_table(self.gauges())

    def prometheus_text(self) -> str:
        """What happens now, for Prometheus."""
        return prometheus_text(self.gauges(), {outlet.name_: outlet.lost for outlet in self.outlets})

    def gauges(self) -> list[Gauges]:
        """What is counted of each source, in the order of the settings."""
        together = zip(self.meters.values(), self._queues, self._captures, strict=True)
        return [Gauges(meter, frames.dropped, capture.up) for meter, frames, capture in together]

    def _add(self, settings: SourceSettings) -> None:
        source = self._source(settings)
        frames = FrameQueue(settings.policy or source.default)
        product = Product(
            Path(settings.recipe), settings.threshold, settings.pixel_threshold,
            None if settings.roi is None else Box(*settings.roi),
            None if settings.mask is None else read_mask(Path(settings.mask)),
            self._trust,
        )  # fmt: skip
        self._queues.append(frames)
        self._captures.append(Capture(settings.name, source, frames, self.stop, self._report, self._make_backoff()))
        self.stations.append(
            Station(
                product, self.shared, frames, self.meters[settings.name], Smoothing(*settings.smoothing), self._emit,
                self.stop, self._report, self._make_backoff(),
            )
        )  # fmt: skip

    def _source(self, settings: SourceSettings) -> Source:
        if not settings.backlog:
            return make_source(settings.address, settings.timeout)
        if not Path(settings.address).is_dir():
            raise SettingsError(f"source {settings.name}: backlog is for folders, {settings.address} is none")
        assert self.settings.output.json is not None
        return WatchedFolder(Path(settings.address), read_inspected(Path(self.settings.output.json), settings.name))

    def _emit(self, frame: Frame, outcome: Outcome, waited: float) -> None:
        self._results.put((frame, outcome, waited))

    def _hand_on(self) -> None:
        """Give each result to the outputs, until None comes."""
        while (item := self._results.get()) is not None:
            frame, outcome, waited = item
            start = time.perf_counter()
            result = make_result(frame, outcome)
            for outlet in self.outlets:
                outlet.put(result)
            if self.page is not None:
                self.page.note(result)
            if not isinstance(outcome, GoodpartsError):
                inspection, decision = outcome
                now = time.perf_counter()
                stages = (inspection.milliseconds[stage] for stage in ("preprocess", "encode", "score"))
                times = (waited, *stages, (now - start) * 1e3, (now - frame.came) * 1e3)
                self.meters[frame.source].add(times, decision)

    def _keep(self) -> None:
        """Take recipes that are replaced."""
        while not self.stop.wait(self._poll):
            for station in self.stations:
                try:
                    station.refresh()
                except Exception as error:  # an engine that fails just now is the station's own affair
                    self._report(f"{station.name}: the recipe cannot be changed now: {error}")

    def _wait(self) -> None:
        for station in self.stations:
            station.join()
        self._over.set()


def _open_engine(settings: LineSettings) -> Engine:
    return Engine.open(
        settings.engine, backend=settings.backend, precision=settings.precision, threads=settings.threads, verify=True
    )


def _make_outputs(settings: OutputSettings, gone: Callable[[], None]) -> Sequence[Output]:
    outputs: list[Output] = []
    if settings.json is not None:
        is_standard = settings.json == "-"
        outputs.append(StandardOutput(sys.stdout.buffer, gone) if is_standard else JsonLines(Path(settings.json)))
    if settings.rejects is not None:
        outputs.append(Rejects(Path(settings.rejects), int(settings.rejects_limit_mb * 1e6)))
    if settings.webhook is not None:
        outputs.append(Webhook(settings.webhook))
    if settings.mqtt is not None:
        outputs.append(Mqtt(settings.mqtt))
    if settings.hook is not None:
        outputs.append(Hook(load_function(settings.hook)))
    return outputs


def make_result(frame: Frame, outcome: Outcome) -> Result:
    """What came of a frame, as outputs are given it."""
    when = datetime.datetime.fromtimestamp(frame.time, datetime.timezone.utc)
    record: dict[str, Any] = {
        "source": frame.source,
        "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "frame": frame.number,
    }
    if frame.path is not None:
        record["path"] = frame.path
    if isinstance(outcome, GoodpartsError):
        record["error"] = str(outcome)
        return Result(frame.source, "error", record, msgspec.json.encode(record) + b"\n", None, None)
    inspection, decision = outcome
    record |= as_record(inspection) | {"decision": decision}
    assert not isinstance(frame.pixels, GoodpartsError)
    line = msgspec.json.encode(record) + b"\n"
    return Result(frame.source, decision, record, line, frame.pixels, inspection)
