"""The programs `goodparts` and `train-and-export`: the table of subcommands, and the form in which errors are shown.

The module of a subcommand is imported only when the subcommand is called.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn, Protocol, cast

from goodparts import __version__


class CommandModule(Protocol):
    """The functions that the module of a command has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments and options.

        This function must not import a library of the command's extra, so that --help works without the extra.

        Args:
            parser: The command's parser.
        """

    def run(self, args: argparse.Namespace) -> int:
        """Run the command.

        Args:
            args: The parsed arguments.

        Returns:
            The exit code, as `run` below lists them.
        """


class Command(NamedTuple):
    """A command.

    Attributes:
        module: The module that holds its add_arguments and run.
        extra: The extra that it needs.
        help: Its line of help.
        first: The options that people need first. --help shows only these, or all options if `first` is empty.
    """

    module: str
    extra: str
    help: str
    first: tuple[str, ...] = ()


TRAIN_AND_EXPORT = Command("goodparts.export.train_and_export", "train",
                           "learn a product and its prompts from a few photos of good parts",
                           ("images", "product", "out", "refine", "shots", "roi", "tiles", "good", "bad",
                            "backbone"))  # fmt: skip
COMMANDS = {
    "try": Command("goodparts.runtime.commands.try_folder", "cpu",
                   "learn from some photos of a folder, inspect the others, show the results",
                   ("folder", "product", "out", "shots", "bad", "unlabelled", "roi", "mask", "tiles")),
    "teach": Command("goodparts.runtime.commands.teach", "cpu",
                     "learn a product from a few photos of good parts, without torch",
                     ("images", "product", "out", "shots", "roi", "mask", "tiles", "good", "bad", "false_reject_rate")),
    "train": TRAIN_AND_EXPORT,
    "inspect": Command("goodparts.runtime.commands.inspect", "cpu", "find bad parts in pictures",
                       ("paths", "recipe", "json", "overlays", "sheet", "threshold", "fail_on_reject", "engine",
                        "backend")),
    "studio": Command("goodparts.runtime.commands.studio", "watch", "teach products in the browser"),
    "watch": Command("goodparts.runtime.commands.watch", "cpu",
                     "inspect cameras, streams and watched folders",
                     ("recipe", "source", "line", "json", "rejects", "page", "settle", "threshold", "policy",
                      "metrics")),
    "calibrate": Command("goodparts.runtime.commands.calibrate", "cpu",
                         "set a recipe's thresholds with more good photos",
                         ("recipe", "good", "unlabelled", "bad", "threshold", "review", "false_reject_rate", "take",
                          "sheet", "out")),
    "accept": Command("goodparts.runtime.commands.accept", "cpu",
                      "add photos of good parts that were rejected to a recipe",
                      ("photos", "recipe", "rejects", "source", "undo", "history", "take")),
    "sign": Command("goodparts.runtime.commands.sign", "sign", "sign recipes"),
    "keygen": Command("goodparts.runtime.commands.keygen", "sign", "make a key pair for signed recipes"),
    "show": Command("goodparts.runtime.commands.show", "cpu", "describe a recipe or an engine"),
    "export": Command("goodparts.export.command", "train", "make an engine for a backbone",
                      ("engine", "backbone", "pretrained", "weights", "precision", "int8_photos", "prompted", "fused",
                       "recipe", "triton")),
    "build": Command("goodparts.runtime.commands.build", "cpu", "build the plan of an engine for this machine",
                     ("engine", "backend", "precision", "max_batch", "prompted", "capability", "force")),
    "bench": Command("goodparts.benchmarks.command", "cpu", "measure speed and accuracy on this machine"),
    "evaluate": Command("goodparts.evaluation.command", "train,evaluate", "measure methods on a data set",
                        ("data", "out", "shots", "seeds", "method", "backbone", "engine", "category", "decide",
                         "sweep")),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run `goodparts COMMAND …`.

    Args:
        argv: The arguments without the program's name; None takes those of this process.

    Returns:
        One of the exit codes that `run` lists. Without a command, the help is printed and the exit code is 2.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = Parser(prog="goodparts", description="Few-shot visual inspection. Begin with try, then teach.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--help-all", action="help", help=argparse.SUPPRESS)  # as every command has it
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        subparsers.add_parser(name, help=command.help, add_help=False)
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    if argv[0] not in COMMANDS and (near := difflib.get_close_matches(argv[0], COMMANDS, 1)):
        parser.error(f"there is no command {argv[0]!r} (did you mean {near[0]}?)")
    name = parser.parse_args(argv[:1]).command
    return run(f"goodparts {name}", COMMANDS[name], argv[1:])


def train_and_export(argv: Sequence[str] | None = None) -> int:
    """Run `train-and-export …`.

    Args:
        argv: The arguments without the program's name; None takes those of this process.

    Returns:
        One of the exit codes that `run` lists.
    """
    return run("train-and-export", TRAIN_AND_EXPORT, sys.argv[1:] if argv is None else argv)


class _FirstHelp(argparse.Action):
    """Prints help on the options whose names are in `const`, and exits."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        shown = {*self.const, "help", "help_all"}
        others = [action for action in parser._actions if action.dest not in shown]
        hidden = [action for action in others if action.help != argparse.SUPPRESS]
        for action in hidden:
            action.help = argparse.SUPPRESS
        for group in parser._action_groups:
            group.description = None
        parser.epilog = f"{len(hidden)} more options: {parser.prog} --help-all"
        parser.print_help()
        parser.exit()


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, like every other error."""

    _given: Sequence[str] = ()
    """The arguments that are parsed."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse, and keep the arguments for `error`.

        Args:
            args: The arguments; None takes those of this process.
            namespace: The object that gets the values; None makes one.

        Returns:
            The values, and the arguments that were not recognised.
        """
        self._given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print the message with a hint, and exit with code 2.

        Args:
            message: argparse's message.
        """
        unknown = None
        if message.startswith("unrecognized arguments: "):
            unknown = next((word for word in message.split()[2:] if word.startswith("--")), None)
        elif message.startswith("the following arguments are required"):
            unknown = self._unknown_option()
        if unknown is not None:
            option = unknown.partition("=")[0]
            shown = {name.strip("-"): name for name, action in self._option_string_actions.items()
                     if action.help != argparse.SUPPRESS}  # fmt: skip
            near = difflib.get_close_matches(option.strip("-"), shown, 1)
            message = f"there is no option {option}" + (f" (did you mean {shown[near[0]]}?)" if near else "")
        elif "invalid float value" in message:
            message += ": write a number with a point, as in 1.2; a share as 0.02, not 2%"
        elif "invalid int value" in message:
            message += ": write a whole number, as in 4"
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help shows the options\n")

    def _unknown_option(self) -> str | None:
        """Return the first given option that the command does not have; a mistyped one hides what it should set."""
        if self._subparsers is not None:  # the options of a subcommand are its parser's
            return None
        for word in self._given:
            option = word.partition("=")[0]
            if option == "--":
                return None
            known = " " in option or any(name.startswith(option) for name in self._option_string_actions)
            if option.startswith("--") and not known:
                return option
        return None


class _OneLineFormatter(logging.Formatter):
    """Formats a message as one line, in which control characters are escaped, because it may hold a file name."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        from goodparts.runtime.core.files import visible

        return visible(super().formatMessage(record))


def show_log() -> None:
    """Show goodparts' own log messages. Those of libraries are hidden, because the error that follows tells more."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLineFormatter("goodparts: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.CRITICAL)
    logging.getLogger("goodparts").setLevel(logging.INFO)


def run(prog: str, command: Command, argv: Sequence[str]) -> int:
    """Import a command's module, parse its arguments and run it; an error becomes one line on stderr.

    If GOODPARTS_TRACEBACK is set in the environment, the error is raised instead, with its traceback.

    Args:
        prog: The program's name in help and errors, such as "goodparts teach".
        command: The command to run, an entry of COMMANDS or TRAIN_AND_EXPORT.
        argv: The command's arguments, without its name.

    Returns:
        The exit code: 0 after a run, 1 if --fail-on-reject met a reject, 2 after an error, 3 if --fail-on-reject met
        a part to review and no reject, 130 after an interruption. SIGTERM exits with 143.
    """
    show_log()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the terminal lacks must not end the run
            stream.reconfigure(errors="backslashreplace")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that temporary files are removed
    try:
        module = cast("CommandModule", importlib.import_module(command.module))
        parser = Parser(prog=prog, description=command.help, add_help=not command.first)
        module.add_arguments(parser)
        if command.first:
            parser.add_argument("-h", "--help", nargs=0, action=_FirstHelp, const=command.first,
                                help="show the options that people need first, and exit")  # fmt: skip
        shown = "show all options, and exit" if command.first else argparse.SUPPRESS
        parser.add_argument("--help-all", action="help", help=shown)
        code = module.run(parser.parse_args(argv))
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("goodparts") or os.environ.get("GOODPARTS_TRACEBACK"):
            raise
        from goodparts.runtime.core.errors import install_line

        print(f"{prog}: needs {error.name}: {install_line(command.extra)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; nothing was left half-written", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the program that reads the output has ended, as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("GOODPARTS_TRACEBACK"):
            raise
        print(f"{prog}: {describe_error(error)}", file=sys.stderr)
        return 2
    return code


def describe_error(error: Exception) -> str:
    """Return an error as one line, in which control characters are escaped.

    Args:
        error: The exception that a command raised.
    """
    from goodparts.runtime.core.errors import GoodpartsError, one_line
    from goodparts.runtime.core.files import visible

    if isinstance(error, (GoodpartsError, OSError)):
        return visible(one_line(error))
    return f"unexpected {visible(one_line(error))} (GOODPARTS_TRACEBACK=1 shows where)"
