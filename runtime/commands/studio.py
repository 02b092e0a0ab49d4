"""`goodparts studio`: products are taught in the browser."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ..core.files import visible
from ..engine.engine import Engine
from ..line.shared_engine import SharedEngine
from ..page.page import DEFAULT_ADDRESS, ServedPage
from ..recipe.signing import Signer
from ..studio.studio import Studio
from .options import add_backend, add_engine, add_key, add_threads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=Path("products"), metavar="FOLDER",
                        help="the products, each a folder; made where there is none (default products)")  # fmt: skip
    parser.add_argument("--source", action="append", default=[], metavar="ADDRESS",
                        help="a camera, stream, video or folder that the page offers; may be repeated, the first one "
                        "is shown at once")  # fmt: skip
    parser.add_argument("--page", default=DEFAULT_ADDRESS, metavar="HOST:PORT",
                        help=f"where the page is served (default {DEFAULT_ADDRESS}); on an address that other machines "
                        "reach it needs a token: --page-token, or one that is made and shown once")  # fmt: skip
    parser.add_argument("--page-token", metavar="FILE", help="the page's token is in this file")
    parser.add_argument("--page-name", metavar="NAME",
                        help="open the page under this name too, as a proxy's; it then needs a token")  # fmt: skip
    add_key(parser)
    add_engine(parser)
    add_backend(parser)
    add_threads(parser)


def run(args: argparse.Namespace) -> int:
    """Serve the studio until SIGINT or SIGTERM."""

    def report(text: str) -> None:
        print(f"goodparts: {visible(text)}", flush=True)

    signer = None if args.key is None else Signer.read(args.key)
    shared_engine = SharedEngine(
        lambda: Engine.open(
            args.engine, backend=args.backend, precision=args.precision, threads=args.threads, verify=True
        ),
        0.0,
    )
    studio = Studio(args.folder, shared_engine, args.source, signer, report)
    if args.source:
        studio.live.choose(args.source[0])
    page = ServedPage(args.page, args.page_token, args.page_name, studio.app, report, "studio")
    try:
        while True:
            time.sleep(3600)  # a wait that Windows lets a signal end
    except KeyboardInterrupt:
        return 0
    finally:
        page.close()
        studio.close()
