"""`goodparts try`: learns from some photos of a folder, inspects the others, and shows the results on one sheet."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..core.files import printable, write_atomic
from ..core.outputs import require_output
from ..engine.engine import Engine
from .options import (
    add_backend,
    add_bad,
    add_engine,
    add_false_reject_rate,
    add_memory,
    add_threads,
    add_view,
    changed_options,
    option_string,
    read_view,
)
from .printing import print_lines
from .trial import SHOTS, try_product
from .trial_advice import advise
from .trial_sheet import describe_trial, to_html


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR",
                        help="folder with photos of good parts, or with good/ and bad/")  # fmt: skip
    parser.add_argument("--product", metavar="TEXT", help="name of the product (default: the folder's)")
    parser.add_argument("--out", type=Path, default=Path("try.html"), metavar="FILE",
                        help="the sheet to write (default %(default)s)")  # fmt: skip
    parser.add_argument("--shots", type=int, metavar="K",
                        help=f"learn from the first K photos of good parts (default {SHOTS})")  # fmt: skip
    parser.add_argument("--unlabelled", type=Path, nargs="+", default=[], metavar="PATH",
                        help="unsorted photos of parts, 20 or more, which set a further threshold")  # fmt: skip
    add_bad(parser)
    add_view(parser.add_argument_group("where to look"))
    add_false_reject_rate(parser)
    add_memory(parser)
    engine = parser.add_argument_group("engine")
    add_engine(engine)
    add_backend(engine)
    add_threads(engine)


LEARNING = ("roi", "mask", "tiles", "overlap", "resize", "false_reject_rate", "poses", "memory_share", "engine",
            "backend", "precision")  # fmt: skip
"""The options of `try` that `teach` has too, without the number of shots."""


def _learning_options(args: argparse.Namespace) -> list[str]:
    """Return the words of the options that change how a product is learned."""
    words: list[str] = []
    for name in changed_options(args, add_arguments):
        if name in LEARNING:
            value = getattr(args, name)
            words += [option_string(name)] if value is True else [option_string(name), str(value)]
    return words


def run(args: argparse.Namespace) -> int:
    require_output(args.out, "HTML page")
    view = read_view(args)
    engine = Engine.open(args.engine, backend=args.backend, precision=args.precision, threads=args.threads, verify=True)
    trial = try_product(
        args.folder,
        args.product or args.folder.resolve().name,
        engine=engine,
        view=view,
        shots=args.shots,
        false_reject_rate=args.false_reject_rate,
        poses=args.poses,
        memory_share=args.memory_share,
        unlabelled=args.unlabelled,
        bad_examples=args.bad,
        options=_learning_options(args),
    )
    write_atomic(args.out, to_html([trial]).encode())
    print_lines([*describe_trial(trial), f"{printable(args.out)} shows all results: open it in a browser", "next:"])
    for sentence, command in advise(trial):
        print_lines([f"  {sentence}", *([] if command is None else [f"    {command}"])])
    return 0
