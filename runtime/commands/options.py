"""Options that several commands share, each defined once."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from ..backends.registry import BACKENDS
from ..backends.session import Precision
from ..core.errors import SettingsError
from ..core.view import Box, View, read_mask
from ..engine.shipped import SHIPPED
from ..recipe.calibrate import FALSE_REJECT_RATE

Options = argparse._ActionsContainer
"""A parser, or one of its groups."""


def changed_options(args: argparse.Namespace, add_arguments: Callable[[argparse.ArgumentParser], None]) -> list[str]:
    """Return the names of the options that differ from their defaults, such as "memory_share".

    Args:
        args: The parsed arguments.
        add_arguments: The function that added them.
    """
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    return [option.dest for option in parser._actions if getattr(args, option.dest, None) != option.default]


def option_string(name: str) -> str:
    """Return an option in the form of the command line.

    Args:
        name: Its name, such as "memory_share".
    """
    return f"--{name.replace('_', '-')}"


def add_renamed(options: Options, old: str, new: str) -> None:
    """Add an option's old name. Giving it is an error, which names the new option.

    Args:
        options: The parser, or the group of options, to add to.
        old: The old name, such as "--calibrate-on".
        new: The new name.
    """
    add_refused(options, old, f"is called {new} now: give {new}")


def add_refused(options: Options, name: str, reason: str) -> None:
    """Add an option that people expect and that is not there. Giving it is an error.

    Args:
        options: The parser, or the group of options, to add to.
        name: The option, such as "--webhook".
        reason: What follows the option's name in the error.
    """
    options.add_argument(name, nargs="*", action=_Refused, const=reason, dest=argparse.SUPPRESS, help=argparse.SUPPRESS)


class _Refused(argparse.Action):
    def __call__(self, *_: object) -> None:
        raise SettingsError(f"{self.option_strings[0]} {self.const}")


def add_engine(options: Options, *, default: Path | None = SHIPPED, help: str = "engine folder") -> None:
    """Add --engine.

    Args:
        options: The parser, or the group of options, to add to.
        default: The default folder; None for a command that chooses the shipped engine itself.
        help: What the folder is for.
    """
    options.add_argument("--engine", type=Path, default=default, metavar="DIR",
                         help=f"{help} (default: the one that ships with goodparts)")  # fmt: skip


def add_recipe(options: Options, *, required: bool = True, help: str = "recipe of the product") -> None:
    """Add --recipe.

    Args:
        options: The parser, or the group of options, to add to.
        required: Whether the command needs it.
        help: What the recipe is for.
    """
    options.add_argument("--recipe", type=Path, required=required, metavar="FILE", help=help)


def add_backend(options: Options) -> None:
    """Add --backend and --precision, which set how an engine runs.

    Args:
        options: The parser, or the group of options, to add to.
    """
    options.add_argument("--backend", default="auto", help=f"auto (default), {', '.join(BACKENDS)}")
    add_precision(options)


def add_precision(options: Options) -> None:
    """Add --precision.

    Args:
        options: The parser, or the group of options, to add to.
    """
    options.add_argument("--precision", default="fp32", choices=get_args(Precision),
                         help="precision of the engine's graph (default fp32)")  # fmt: skip


def add_threads(options: Options) -> None:
    """Add --threads.

    Args:
        options: The parser, or the group of options, to add to.
    """
    options.add_argument(
        "--threads", type=int, metavar="N", help="threads of the inference library (default: the library chooses)"
    )


def add_threshold(options: Options) -> None:
    """Add --threshold, which multiplies the recipe's threshold while the command runs.

    Args:
        options: The parser, or the group of options, to add to.
    """
    options.add_argument("--threshold", type=float, metavar="T",
                         help="score from which a part is rejected (default 1, the recipe's threshold); "
                              "with 1.2, parts that score below 1.2 pass")  # fmt: skip


def add_review(options: Options, *, help: str) -> None:
    """Add --review, the score from which a part that is not rejected gets the verdict review: a float, or "off".

    Args:
        options: The parser, or the group of options, to add to.
        help: What the command does with it.
    """
    options.add_argument("--review", type=_parse_review, metavar="SCORE", help=help)


def _parse_review(text: str) -> float | Literal["off"]:
    if text == "off":
        return "off"
    try:
        review = float(text)
    except ValueError:
        review = math.nan
    if not 0.0 < review < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r}: a score above 0 and below 1 is needed, as in 0.8, or off")
    return review


def add_false_reject_rate(options: Options, *, default: float | None = FALSE_REJECT_RATE) -> None:
    """Add --false-reject-rate.

    Args:
        options: The parser, or the group of options, to add to.
        default: The default rate, above 0 and below 0.5; None keeps the recipe's.
    """
    shown = "default: the recipe's" if default is None else f"default {default}"
    options.add_argument("--false-reject-rate", type=float, default=default, metavar="P",
                         help=f"share of good parts that may be rejected ({shown})")  # fmt: skip


def add_bad(options: Options) -> None:
    """Add --bad.

    Args:
        options: The parser, or the group of options, to add to.
    """
    options.add_argument("--bad", type=Path, nargs="+", default=[], metavar="PATH",
                         help="photos of bad parts: their scores are shown, and a threshold is proposed")  # fmt: skip


def add_region(options: Options, *, roi_help: str, mask_help: str) -> None:
    """Add --roi and --mask, which define the part of a frame that is inspected.

    Args:
        options: The parser, or the group of options, to add to.
        roi_help: What --roi means for the command.
        mask_help: What --mask means for the command.
    """
    options.add_argument("--roi", metavar="X,Y,W,H", help=roi_help)
    options.add_argument("--mask", type=Path, metavar="FILE", help=mask_help)


def add_view(options: Options) -> None:
    """Add the options that `read_view` reads.

    Args:
        options: The parser, or the group of options, to add to.
    """
    add_region(options, roi_help="region of interest in frame pixels (default: the whole frame)",
               mask_help="picture of the frame's size: white is inspected, black is not")  # fmt: skip
    options.add_argument("--tiles", metavar="RxC", default="1x1",
                         help="cut the region into rows x columns, to find smaller defects (default 1x1)")  # fmt: skip
    options.add_argument("--overlap", type=float, default=0.1, metavar="F",
                         help="overlap of neighbouring tiles, as a share of their side (default 0.1)")  # fmt: skip
    options.add_argument("--resize", choices=["squash", "letterbox"], default="squash",
                         help="squash (default) stretches the region to a square, letterbox keeps its "
                              "aspect ratio")  # fmt: skip


def read_view(args: argparse.Namespace) -> View:
    """Return the view that --roi, --mask, --tiles, --overlap and --resize describe.

    Args:
        args: The parsed arguments.

    Raises:
        SettingsError: A value is malformed or out of range.
    """
    roi = None if args.roi is None else Box.parse(args.roi)
    try:
        rows, columns = (int(count) for count in args.tiles.lower().split("x"))
    except ValueError:
        raise SettingsError(f"--tiles {args.tiles}: give rows x columns, as in 2x3") from None
    mask = None if args.mask is None else read_mask(args.mask)
    return View(roi=roi, mask=mask, resize=args.resize, tiles=(rows, columns), overlap=args.overlap)


def add_memory(options: Options) -> None:
    """Add --poses and --memory-share, which define the memory of the photos.

    Args:
        options: The parser, or the group of options, to add to.
    """
    options.add_argument("--poses", action="store_true",
                         help="also remember each shot in seven more poses, turned by quarters and mirrored; not for "
                              "a part that is bad when turned or mirrored (default: off)")  # fmt: skip
    options.add_argument("--memory-share", type=float, default=1.0, metavar="F",
                         help="share of the shots' patches to remember, the most different first "
                              "(default 1)")  # fmt: skip


def add_rejection(options: Options) -> None:
    """Add the options that set a learned product's thresholds; write_recipe.py reads them.

    Args:
        options: The parser, or the group of options, to add to.
    """
    add_false_reject_rate(options)
    add_renamed(options, "--calibrate-on", "--good")
    options.add_argument("--good", type=Path, nargs="+", default=[], metavar="PATH",
                         help="further good photos, which set the thresholds; 20 to 50 make them reliable")  # fmt: skip
    add_bad(options)
    add_review(options, help="score from which a part that is not rejected gets the verdict review, such as 0.8 "
                             "(default: off)")  # fmt: skip


def add_no_shots(options: Options) -> None:
    """Add --no-shots.

    Args:
        options: The parser, or the group of options, to add to.
    """
    options.add_argument("--no-shots", action="store_true",
                         help="leave the shots out; the recipe then fits only this engine's graph")  # fmt: skip


def add_key(options: Options, *, required: bool = False) -> None:
    """Add --key, for a command that may sign the recipe that it writes.

    Args:
        options: The parser, or the group of options, to add to.
        required: Whether the command needs it.
    """
    options.add_argument(
        "--key", type=Path, required=required, metavar="FILE", help="private key that signs the recipe"
    )


def add_trust(options: Options) -> None:
    """Add --accept-signed, for a command that only reads recipes.

    Args:
        options: The parser, or the group of options, to add to.
    """
    options.add_argument("--accept-signed", type=Path, metavar="FILE",
                         help="accept only recipes that are signed with a public key of this file")  # fmt: skip
