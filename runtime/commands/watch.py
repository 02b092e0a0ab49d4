"""`goodparts watch`: inspects cameras, streams and watched folders until it is stopped."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import msgspec

from ..core.errors import SettingsError, install_line
from ..core.files import visible
from ..engine.shipped import SHIPPED
from ..line.line import Line
from ..line.metrics_server import MetricsServer
from ..line.open_line import open_line
from ..line.settings import LineSettings, OutputSettings, SettlingSettings, SourceSettings, read_settings
from ..line.sources.names import name_sources
from ..line.sources.source import Policy
from ..line.status import describe_totals, status_table
from ..page.page import DEFAULT_ADDRESS, Page
from ..studio.studio import Studio
from .options import (
    add_backend,
    add_engine,
    add_recipe,
    add_refused,
    add_threads,
    add_threshold,
    add_trust,
    changed_options,
    option_string,
)
from .screen import Screen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--line", type=Path, metavar="FILE", help="TOML file with all settings, instead of the options below"
    )
    add_engine(parser, default=None)
    add_recipe(parser, required=False)
    parser.add_argument(
        "--source", action="append", default=[], metavar="ADDRESS",
        help="folder, video file, /dev/video0, rtsp://…, http://…, genicam:PRODUCER.cti?serial=N; may be repeated",
    )  # fmt: skip
    parser.add_argument("--policy", choices=get_args(Policy),
                        help="what to do when pictures come too fast: newest drops the older ones (default for cameras "
                             "and streams), every makes the source wait (default for files and folders)")  # fmt: skip
    add_trust(parser)
    add_backend(parser)
    add_threads(parser)
    add_threshold(parser)
    parser.add_argument("--settle", type=int, metavar="N",
                        help="propose a threshold from the next N parts, such as 100; a few may be bad")  # fmt: skip
    parser.add_argument(
        "--take", action="store_true", help="write the threshold that --settle proposes into the recipe"
    )
    parser.add_argument(
        "--json", metavar="FILE",
        help="append one JSON line per frame to this file; - is standard output, which is the default unless it is a "
        "terminal",
    )  # fmt: skip
    parser.add_argument(
        "--rejects", metavar="DIR", help="keep rejected frames and their heat-maps in this folder, up to 1 GB"
    )
    parser.add_argument(
        "--metrics", type=int, metavar="PORT", help="serve Prometheus metrics on this port of 127.0.0.1"
    )
    parser.add_argument(
        "--page", nargs="?", const=DEFAULT_ADDRESS, metavar="HOST:PORT",
        help=f"serve a live page, on which thresholds can be set (default {DEFAULT_ADDRESS}); an address that other "
        "machines reach needs a token: that of --page-token, or a new one, which is shown once",
    )  # fmt: skip
    parser.add_argument("--page-token", metavar="FILE", help="file that holds the page's token")
    parser.add_argument(
        "--page-name", metavar="NAME",
        help="serve the page under this name too, such as a proxy's (this needs a token)",
    )  # fmt: skip
    parser.add_argument("--page-teach", metavar="FOLDER",
                        help="teach products on the page too, and keep them in this folder (default: off)")  # fmt: skip
    for option in ("--webhook", "--mqtt", "--hook"):
        add_refused(parser, option, "is a key of the settings file: write it there, and give --line FILE")


def run(args: argparse.Namespace) -> int:
    settings = make_settings(args)
    if args.line is not None and settings.output.hook is not None:
        sys.path.append(str(args.line.absolute().parent))  # last, so that a file there replaces no other module
    among_json_lines = settings.output.json == "-" and sys.stdout.isatty()
    screen = Screen(sys.stderr, draws=sys.stderr.isatty() and not among_json_lines)

    def report(text: str) -> None:
        screen.print(f"goodparts: {visible(text)}")

    line = open_line(settings, report)
    if not line.outlets and settings.output.page is None:
        report("results go nowhere: give --json FILE or --page, or an [output] in the settings file")
    with contextlib.ExitStack() as servers:
        servers.enter_context(handle_signals(line, on_terminal=sys.stderr.isatty()))
        if settings.output.metrics is not None:
            servers.callback(_serve_metrics(settings.output.metrics, line).close)
        if settings.output.page is not None:
            make_studio = None
            if settings.output.page_teach is not None:
                studio = _open_studio(Path(settings.output.page_teach), line)
                servers.callback(studio.close)
                make_studio = studio.app
            servers.callback(Page(line, settings.output, report, make_studio).close)
        screen.print(_describe_line(line))
        is_complete = line.run(lambda: screen.show(status_table(line.status())))
        how = "ended in order" if is_complete else "ended with the losses above"
        report(f"{how}; {describe_totals(line.status())}")
    code = 0 if is_complete else 2
    if line.threads_left:
        atexit.register(_exit_at_once, code)
    return code


@contextlib.contextmanager
def handle_signals(line: Line, *, on_terminal: bool) -> Iterator[None]:
    """Return a context in which signals end the line.

    The first SIGINT or SIGTERM ends the line in order, a second one without delay. SIGHUP tells a service that log
    files were renamed, so the outputs are opened again; on a terminal it tells that the terminal is gone, so the line
    ends.

    Args:
        line: The line that the signals end.
        on_terminal: Whether the process runs on a terminal.
    """
    handlers: dict[int, Callable[[], None]] = {signal.SIGINT: line.stop, signal.SIGTERM: line.stop}
    if sys.platform != "win32":
        handlers[signal.SIGHUP] = line.stop if on_terminal else line.reopen_outputs
    if threading.current_thread() is not threading.main_thread():
        handlers = {}  # Python delivers signals only to the main thread.

    def handle(number: int, frame: object) -> None:  # noqa: ARG001
        handlers[number]()

    before = {number: signal.signal(number, handle) for number in handlers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_at_once(code: int) -> None:
    """End the process at once. A thread that waits for a camera still uses objects that Python would destroy."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _serve_metrics(port: int, line: Line) -> MetricsServer:
    try:
        from ..line.prometheus import CONTENT_TYPE_LATEST, prometheus_text
    except ImportError as error:
        raise SettingsError(f"metrics need prometheus_client: {install_line('watch')}") from error
    return MetricsServer(port, CONTENT_TYPE_LATEST, lambda: prometheus_text(line))


def _open_studio(folder: Path, line: Line) -> Studio:
    """Return a studio that shows and collects the frames of a line's sources."""
    names = [pipeline.settings.name for pipeline in line.pipelines]
    studio = Studio(folder, line.shared_engine, names, None, line.messages.report, is_line=True)
    studio.live.choose(names[0])
    line.router.subscribe(studio.note)
    return studio


def _settling(args: argparse.Namespace) -> SettlingSettings | None:
    """Return the settings of --settle and --take; None without --settle."""
    if args.settle is None:
        return None
    try:
        return SettlingSettings(parts=args.settle, take=args.take)
    except ValueError as error:
        raise SettingsError(f"--settle: {error}") from error


def make_settings(args: argparse.Namespace) -> LineSettings:
    """Return the settings in the file of --line; without --line, return the settings that the other options give.

    Args:
        args: The parsed arguments.

    Raises:
        SettingsError: Options exclude each other, or a value is out of range.
    """
    if args.take and args.settle is None:
        raise SettingsError("--take writes the threshold that settling proposes: give --settle N as well")
    if args.line is not None:
        others = set(changed_options(args, add_arguments)) - {"line", "settle", "take"}
        if others:
            names = ", ".join(sorted(map(option_string, others)))
            raise SettingsError(f"--line FILE holds all settings: leave {names} out, or write it into the file")
        settings = read_settings(args.line)
        return settings if args.settle is None else msgspec.structs.replace(settings, settling=_settling(args))
    if not (args.recipe and args.source):
        raise SettingsError("--recipe and --source are needed, or --line FILE")
    json = args.json
    if json is None and not sys.stdout.isatty():  # on a terminal the lines would flood the messages and the table
        json = "-"
    try:
        sources = tuple(
            SourceSettings(
                name=name,
                address=address,
                recipe=str(args.recipe),
                policy=args.policy,
                threshold=args.threshold,
            )
            for name, address in zip(name_sources(args.source), args.source, strict=True)
        )
        output = OutputSettings(json=json, rejects=args.rejects, metrics=args.metrics, page=args.page,
                                page_token=args.page_token, page_name=args.page_name,
                                page_teach=args.page_teach)  # fmt: skip
        return LineSettings(
            engine=str(args.engine or SHIPPED), source=sources, output=output, backend=args.backend,
            precision=args.precision, threads=args.threads,
            accept_signed=None if args.accept_signed is None else str(args.accept_signed),
            settling=_settling(args),
        )  # fmt: skip
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _describe_line(line: Line) -> str:
    sources = ", ".join(pipeline.settings.name for pipeline in line.pipelines)
    engine = line.shared_engine.engine
    return f"{sources}: {engine.encoder.backbone} on {engine.backend}"
