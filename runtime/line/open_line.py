"""Makes a line from its settings. Everything is opened and checked, but no thread is started."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..backends.registry import AUTO
from ..core.errors import SettingsError
from ..engine.engine import Engine
from ..recipe.signing import Trust
from .capture import Capture
from .context import LineContext
from .frames import FrameQueue
from .inspection_settings import InspectionSettings
from .line import Line
from .messages import Messages, Report
from .meter import Meter
from .outputs.inspected import read_inspected
from .outputs.make import make_outputs
from .outputs.outlet import Outlet
from .outputs.rejects import Rejects
from .pipeline import Pipeline
from .redact import Redactor, redact_address
from .router import Router
from .settings import LineSettings, SourceSettings
from .settling import Settling
from .shared_engine import SharedEngine
from .sources.address import make_source
from .sources.folder import WatchedFolder
from .sources.source import Source
from .station import Station


def open_line(settings: LineSettings, report: Report, *, first_delay: float = 1.0, poll: float = 1.0) -> Line:
    """Open everything that the settings name, and make the line.

    Args:
        settings: The line's settings.
        report: Receives one line of text about each event.
        first_delay: The delay from a first failure to the first retry, in seconds.
        poll: Seconds between two checks of the recipes' files, and between two calls of `Line.run`'s argument.

    Returns:
        The line, ready to run.

    Raises:
        GoodpartsError: The engine, a recipe, a source or an output cannot be used.
    """
    _require_rejects_elsewhere(settings)
    messages = Messages(report, _make_redactor(settings))
    context = LineContext(messages.report, first_delay)
    batch_seconds = settings.batch_ms / 1e3 if len(settings.source) > 1 else 0.0
    shared_engine = SharedEngine(partial(open_engine, settings), batch_seconds)
    trust = None if settings.accept_signed is None else Trust.read(Path(settings.accept_signed))
    meters = {source.name: Meter(source.name) for source in settings.source}
    router = Router(meters, depth=4 * len(settings.source))
    pipelines = []
    for source_settings in settings.source:
        source = _make_source(source_settings, settings.output.json, keeps_yuv=settings.backend not in ("auto", *AUTO))
        queue = FrameQueue(source_settings.policy or source.default_policy)
        meter = meters[source_settings.name]
        capture = Capture(source_settings.name, source, queue, meter, context)
        if isinstance(source, WatchedFolder) and source_settings.smoothing[1] > 1:
            messages.report(_warn_of_smoothing(source_settings))
        inspection = InspectionSettings.of(source_settings, trust)
        station = Station(source_settings.name, inspection, queue, shared_engine, router.put, context)
        takes = settings.settling is not None and settings.settling.take
        settling = Settling(station, messages.report, report, takes=takes)
        if settings.settling is not None:
            settling.start(settings.settling.parts)
        router.subscribe(settling.note)
        pipelines.append(Pipeline(source_settings, capture, queue, station, meter, settling))
    loses_no_frame = any(pipeline.queue.policy == "every" for pipeline in pipelines)
    outputs = make_outputs(settings.output, context.stop.set)
    outlets = [Outlet(output, context, may_wait=loses_no_frame and output.name == "json") for output in outputs]
    reject_index = next((output.index for output in outputs if isinstance(output, Rejects)), None)
    for outlet in outlets:
        router.subscribe(outlet.put)
    return Line(pipelines, shared_engine, router, outlets, messages, context, reject_index=reject_index, poll=poll)


def open_engine(settings: LineSettings) -> Engine:
    """Open the engine that the settings name, and check the digests of its files.

    Args:
        settings: The line's settings.

    Returns:
        The engine.

    Raises:
        GoodpartsError: The engine cannot be opened.
    """
    return Engine.open(
        settings.engine, backend=settings.backend, precision=settings.precision, threads=settings.threads, verify=True
    )


def _require_rejects_elsewhere(settings: LineSettings) -> None:
    """Refuse a folder of rejects in a watched folder, in which the line would inspect the pictures that it writes."""
    if settings.output.rejects is None:
        return
    rejects = Path(settings.output.rejects).resolve()
    for source in settings.source:
        watched = Path(source.address)
        if watched.is_dir() and rejects.is_relative_to(watched.resolve()):
            raise SettingsError(
                f"rejects {settings.output.rejects} lies in {watched}, which source {source.name!r} watches: name a "
                "folder outside it"
            )


def _warn_of_smoothing(settings: SourceSettings) -> str:
    """Return the message about smoothing over the pictures of a folder, which mostly show a part each."""
    n, m = settings.smoothing
    return (
        f"{settings.name}: smoothing = [{n}, {m}] decides from {m} pictures together; if each picture in "
        f"{settings.address} shows another part, decisions are wrong: leave smoothing out"
    )


def _make_redactor(settings: LineSettings) -> Redactor:
    """Return a redactor that removes the secrets of the settings' addresses from messages."""
    addresses = [source.address for source in settings.source]
    if settings.output.mqtt is not None:
        addresses.append(settings.output.mqtt)
    return Redactor(addresses, [] if settings.output.webhook is None else [settings.output.webhook])


def _make_source(settings: SourceSettings, json: str | None, *, keeps_yuv: bool) -> Source:
    """Return a source. With `backlog`, a folder also gives the pictures that have no line in the JSON file."""
    if not Path(settings.address).is_dir():
        for option, is_given in (("backlog", settings.backlog), ("settle", settings.settle is not None)):
            if is_given:
                shown = redact_address(settings.address)
                raise SettingsError(f"source {settings.name}: {option} is only for folders, and {shown} is none")
        return make_source(settings.address, settings.timeout, keeps_yuv=keeps_yuv)
    inspected = None
    if settings.backlog:
        assert json is not None  # LineSettings refuses backlog without it
        inspected = read_inspected(Path(json), settings.name)
    return WatchedFolder(Path(settings.address), inspected, settle=settings.settle)
