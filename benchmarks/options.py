"""Options that several benchmarks share, and the types of their values."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import get_args

from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.files import require_folder_of
from goodparts.trainer.clip.names import LARGE_NAME


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add --json and --markdown, the files to write.

    Args:
        parser: A benchmark's parser.
    """
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write the rows, the machine and the versions")
    parser.add_argument("--markdown", type=output_file, metavar="FILE", help="write the whole report as Markdown")


def add_repeat(parser: argparse.ArgumentParser, default: int) -> None:
    """Add --repeat, the number of timed rounds.

    Args:
        parser: A benchmark's parser.
        default: The number of rounds without the option, 1 or more.
    """
    parser.add_argument(
        "--repeat", type=positive_integer, default=default, metavar="N", help="timed rounds (default: %(default)s)"
    )


def add_backbone(parser: argparse.ArgumentParser) -> None:
    """Add --backbone, whose weights are random unless it is `small`.

    Args:
        parser: A benchmark's parser.
    """
    parser.add_argument(
        "--backbone",
        default=LARGE_NAME,
        metavar="NAME",
        help="small, or an open_clip ViT or CLIP ResNet with random weights (default: %(default)s)",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose an engine: its folder, its backbone and its precisions.

    Args:
        parser: A benchmark's parser.
    """
    parser.add_argument(
        "--engine",
        type=Path,
        metavar="DIR",
        help="use the engine in this folder, or make one there (default: the one that ships with goodparts, or a "
        "temporary one for another backbone)",
    )
    parser.add_argument(
        "--backbone",
        metavar="NAME",
        help="small, or an open_clip ViT or CLIP ResNet with random weights "
        f"(default: the backbone of the engine; {LARGE_NAME} for a new engine)",
    )
    add_precisions(parser)


def add_precisions(parser: argparse.ArgumentParser) -> None:
    """Add --precision, the precisions to measure.

    Args:
        parser: A benchmark's parser.
    """
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=get_args(Precision),
        dest="precisions",
        help="measure only these precisions (default: the engine's precisions; fp32 bf16 for a new engine)",
    )


def add_threads(parser: argparse.ArgumentParser, text: str) -> None:
    """Add --threads.

    Args:
        parser: A benchmark's parser.
        text: The help text, which names the library that uses the threads.
    """
    parser.add_argument("--threads", type=positive_integer, metavar="N", help=text)


def positive_integer(text: str) -> int:
    """Parse an integer of at least 1.

    Args:
        text: The value on the command line.

    Returns:
        The integer.

    Raises:
        ArgumentTypeError: The text is no integer, or the integer is below 1.
    """
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: an integer of at least 1 is needed")
    return value


def positive_number(text: str) -> float:
    """Parse a finite number above 0.

    Args:
        text: The value on the command line.

    Returns:
        The number.

    Raises:
        ArgumentTypeError: The text is no number, or the number is not finite or not above 0.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: a number above 0 is needed")
    return value


def output_file(text: str) -> Path:
    """Check that a file can be written, now rather than after a slow measurement.

    Args:
        text: The path on the command line.

    Returns:
        The path.

    Raises:
        FileError: No file can be written there.
    """
    path = Path(text)
    require_folder_of(path)
    return path
