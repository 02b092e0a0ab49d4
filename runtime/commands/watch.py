"""`goodparts watch`: cameras, streams and watched folders in, verdicts out, until it is told to stop."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TextIO, get_args

from ..backends.registry import BACKENDS
from ..backends.session import Precision
from ..core.errors import SettingsError
from ..core.files import visible
from ..line.line import Line
from ..line.settings import LineSettings, OutputSettings, SourceSettings, read_settings
from ..line.sources.source import Policy
from ..page.page import DEFAULT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--line", type=Path, metavar="FILE", help="a TOML file that names all of it, instead of what follows"
    )
    parser.add_argument("--engine", metavar="DIR", help="engine folder")
    parser.add_argument("--recipe", metavar="FILE", help="recipe of the product")
    parser.add_argument(
        "--source", action="append", default=[], metavar="ADDRESS",
        help="folder, video file, /dev/video0, rtsp://…, http://…, genicam:PRODUCER.cti?serial=N; may be repeated",
    )  # fmt: skip
    parser.add_argument("--policy", choices=get_args(Policy),
                        help="of pictures that come too fast: newest drops others (default for cameras and streams), "
                        "every makes the source wait (default for files and folders)")  # fmt: skip
    parser.add_argument("--accept-signed", metavar="FILE",
                        help="take recipes alone that are signed with a public key of this file")  # fmt: skip
    parser.add_argument("--backend", default="auto", help=f"auto (default), {', '.join(BACKENDS)}")
    parser.add_argument("--precision", default="fp32", choices=get_args(Precision))
    parser.add_argument("--threads", type=int, metavar="N", help="of the inference library")
    parser.add_argument("--threshold", type=float, metavar="T", help="raw image score from which a part is rejected")
    parser.add_argument(
        "--json", default="-", metavar="FILE", help="one JSON line per frame; - is standard output (default)"
    )
    parser.add_argument("--rejects", metavar="DIR", help="keep rejected frames and their heat-maps, up to 1 GB")
    parser.add_argument("--metrics", type=int, metavar="PORT", help="Prometheus metrics on 127.0.0.1")
    parser.add_argument(
        "--page", nargs="?", const=DEFAULT, metavar="HOST:PORT",
        help=f"a live page to look at and to set thresholds on (default {DEFAULT}); on an address that other machines "
        "reach it needs a token: --page-token, or one that is made and shown once",
    )  # fmt: skip
    parser.add_argument("--page-token", metavar="FILE", help="the page's token is in this file")


class Screen:
    """What is said, and how things stand: on a terminal of its own below it, written over itself; elsewhere, as in a
    journal or among JSON lines, again every QUIET seconds."""

    QUIET = 600.0

    def __init__(self, stream: TextIO, draws: bool) -> None:
        self._stream, self._draws = stream, draws
        self._table: list[str] = []
        self._shown = 0
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """A line that stays; for several threads."""
        with self._lock:
            self._write(f"{self._cleared()}{text}\n{self._drawn()}")

    def show(self, table: list[str]) -> None:
        """How things stand now."""
        with self._lock:
            if self._draws:
                self._table = table
                self._write(f"{self._cleared()}{self._drawn()}")
            elif time.monotonic() - self._last >= self.QUIET:
                self._last = time.monotonic()
                self._write("\n".join([*table, ""]))

    def _cleared(self) -> str:
        """Takes the table off a terminal."""
        lines, self._shown = self._shown, 0
        return f"\r\x1b[{lines}A\x1b[J" if lines else ""

    def _drawn(self) -> str:
        columns, rows = shutil.get_terminal_size()
        lines = [line[: columns - 1] for line in self._table[: max(1, rows - 2)]]  # one that wraps could not be cleared
        self._shown = len(lines)
        return "".join(f"{line}\n" for line in lines)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def run(args: argparse.Namespace) -> int:
    settings = _settings(args)
    among_lines = settings.output.json == "-" and sys.stdout.isatty()
    screen = Screen(sys.stderr, draws=sys.stderr.isatty() and not among_lines)
    line = Line(settings, lambda text: screen.say(f"goodparts: {visible(text)}"))
    screen.say(f"{', '.join(line.meters)}: {line.shared.engine.encoder.backbone} on {line.shared.engine.backend}")
    with contextlib.suppress(KeyboardInterrupt, SystemExit):  # SIGINT and SIGTERM are how it is meant to end
        line.run(lambda: screen.show(line.status_table()))
    screen.say(f"goodparts: ended in order; {line.totals()}")
    return 0


def _settings(args: argparse.Namespace) -> LineSettings:
    if args.line is not None:
        if args.engine or args.recipe or args.source:
            raise SettingsError("--line FILE names engine, recipes and sources: leave --engine, --recipe, --source out")
        return read_settings(args.line)
    if not (args.engine and args.recipe and args.source):
        raise SettingsError("--engine, --recipe and --source are needed, or --line FILE")
    try:
        sources = tuple(
            SourceSettings(
                name=str(number), address=address, recipe=args.recipe, policy=args.policy, threshold=args.threshold
            )
            for number, address in enumerate(args.source, start=1)
        )
        output = OutputSettings(json=args.json, rejects=args.rejects, metrics=args.metrics, page=args.page,
                                page_token=args.page_token)  # fmt: skip
        return LineSettings(
            engine=args.engine, source=sources, output=output, backend=args.backend, precision=args.precision,
            threads=args.threads, accept_signed=args.accept_signed,
        )  # fmt: skip
    except ValueError as error:
        raise SettingsError(str(error)) from error
