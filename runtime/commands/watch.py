"""`goodparts watch`: cameras, streams and watched folders in, verdicts out, until it is told to stop."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import get_args

from ..backends import BACKENDS
from ..engine import Precision
from ..errors import SettingsError
from ..line.settings import LineSettings, OutputSettings, SourceSettings, read_settings
from ..line.sources import Policy
from ..line.watch import Line


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
    parser.add_argument("--backend", default="auto", help=f"auto (default), {', '.join(BACKENDS)}")
    parser.add_argument("--precision", default="fp32", choices=get_args(Precision))
    parser.add_argument("--threads", type=int, metavar="N", help="of the inference library")
    parser.add_argument("--threshold", type=float, metavar="T", help="raw image score from which a part is rejected")
    parser.add_argument(
        "--json", default="-", metavar="FILE", help="one JSON line per frame; - is standard output (default)"
    )
    parser.add_argument("--rejects", metavar="DIR", help="keep rejected frames and their heat-maps, up to 1 GB")
    parser.add_argument("--metrics", type=int, metavar="PORT", help="Prometheus metrics on 127.0.0.1")


def run(args: argparse.Namespace) -> int:
    on_terminal = sys.stderr.isatty()

    def say(text: str) -> None:
        print(f"\r\x1b[K{text}" if on_terminal else text, file=sys.stderr, flush=True)

    line = Line(_settings(args), lambda text: say(f"goodparts: {text}"))
    say(f"{', '.join(line.meters)}: {line.shared.engine.encoder.backbone} on {line.shared.engine.backend}")

    def show() -> None:
        if on_terminal:
            print(f"\r\x1b[K{line.status_line()}", end="", file=sys.stderr, flush=True)

    with contextlib.suppress(KeyboardInterrupt, SystemExit):  # SIGINT and SIGTERM are how it is meant to end
        line.run(show)
    say(f"goodparts: ended in order; {line.status_line()}")
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
        output = OutputSettings(json=args.json, rejects=args.rejects, metrics=args.metrics)
        return LineSettings(
            engine=args.engine, source=sources, output=output, backend=args.backend, precision=args.precision,
            threads=args.threads,
        )  # fmt: skip
    except ValueError as error:
        raise SettingsError(str(error)) from error
