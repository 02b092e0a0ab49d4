"""The two commands: a table of subcommands, each imported when it is called, and how errors are shown."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from goodparts import __version__

COMMANDS = {
    "inspect": ("goodparts.runtime.inspect", "cpu", "find bad parts in pictures"),
    "show": ("goodparts.runtime.show", "cpu", "describe a recipe or an engine"),
    "export": ("goodparts.export.command", "train", "make an engine for a backbone"),
    "bench": ("goodparts.benchmarks.command", "train", "measure speed on this machine"),
}
"""Subcommand → module with add_arguments and run, the extra it needs, its line of help."""

TRAIN_AND_EXPORT = (
    "goodparts.export.train_and_export",
    "train",
    "learn a product from a few photos of good parts",
)


def main(argv: Sequence[str] | None = None) -> int:
    """`goodparts COMMAND …`; returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        prog="goodparts", description="Few-shot visual inspection. Learn a product with train-and-export."
    )
    parser.add_argument("--version", action="version", version=__version__)
    choices = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, _, text) in COMMANDS.items():
        choices.add_parser(name, help=text, add_help=False)
    command = parser.parse_args(argv[:1]).command
    return run(f"goodparts {command}", *COMMANDS[command], argv=argv[1:])


def train_and_export(argv: Sequence[str] | None = None) -> int:
    """`train-and-export …`; returns the exit code."""
    return run("train-and-export", *TRAIN_AND_EXPORT, argv=sys.argv[1:] if argv is None else argv)


def run(prog: str, module: str, extra: str, text: str, argv: Sequence[str]) -> int:
    """Import a command's module, parse its arguments and run it; errors become one line on stderr.

    Exit codes: 0 ran, 1 a reject under --fail-on-reject, 2 error, 130 interrupted.
    """
    # Ours is shown; what libraries log on the way to an error says less than the error.
    logging.basicConfig(format="goodparts: %(message)s", level=logging.CRITICAL)
    logging.getLogger("goodparts").setLevel(logging.INFO)
    from goodparts.runtime.errors import GoodpartsError

    try:
        try:
            command = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("goodparts"):
                raise
            print(f'{prog}: needs {error.name}: pip install "goodparts[{extra}]"', file=sys.stderr)
            return 2
        parser = argparse.ArgumentParser(prog=prog, description=text)
        command.add_arguments(parser)
        code: int = command.run(parser.parse_args(argv))
    except GoodpartsError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; nothing was left half-written", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as in `… | head`
        sys.stderr.close()
        return 0
    return code
