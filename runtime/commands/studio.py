"""`goodparts studio`: serves the page on which products are taught in a browser."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ..core.files import visible
from ..engine.engine import Engine
from ..line.shared_engine import SharedEngine
from ..line.sources.address import make_source
from ..page.page import DEFAULT_ADDRESS, ServedPage
from ..recipe.signing import Signer
from ..studio.live import TIMEOUT
from ..studio.studio import Studio
from .options import add_backend, add_engine, add_key, add_threads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, nargs="?", default=Path("products"), metavar="FOLDER",
                        help="folder of the products, made if it does not exist (default products)")  # fmt: skip
    parser.add_argument("--source", action="append", default=[], metavar="ADDRESS",
                        help="camera, stream, video or folder that the page offers; may be repeated; the first one is "
                        "shown at the start")  # fmt: skip
    parser.add_argument("--page", default=DEFAULT_ADDRESS, metavar="HOST:PORT",
                        help=f"address of the page (default {DEFAULT_ADDRESS}); an address that other machines reach "
                        "needs a token: that of --page-token, or a new one, which is shown once")  # fmt: skip
    parser.add_argument("--page-token", metavar="FILE", help="file that holds the page's token")
    parser.add_argument("--page-name", metavar="NAME",
                        help="serve the page under this name too, such as a proxy's (this needs a token)")  # fmt: skip
    add_key(parser)
    add_engine(parser)
    add_backend(parser)
    add_threads(parser)


def run(args: argparse.Namespace) -> int:
    def report(text: str) -> None:
        print(f"goodparts: {visible(text)}", flush=True)

    for address in args.source[:1]:  # it is shown at once; if it cannot be, no folder of products is made
        make_source(address, TIMEOUT)
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
            time.sleep(3600)  # On Windows a signal ends this wait.
    except KeyboardInterrupt:
        return 0
    finally:
        page.close()
        studio.close()
