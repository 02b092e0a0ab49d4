"""Options that several commands share, each defined once."""

from __future__ import annotations

import argparse
import math
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


def add_renamed(options: Options, old: str, new: str) -> None:
    """Refuse an option's old name and tell its new one."""
    options.add_argument(old, nargs="*", action=_Renamed, const=new, dest=argparse.SUPPRESS, help=argparse.SUPPRESS)


class _Renamed(argparse.Action):
    def __call__(self, *_: object) -> None:
        raise SettingsError(f"{self.option_strings[0]} is called {self.const} now: give {self.const}")


def add_engine(options: Options, *, default: Path | None = SHIPPED, help: str = "engine folder") -> None:
    """Add --engine. default: None for a command that chooses the shipped engine itself where no other is named."""
    options.add_argument("--engine", type=Path, default=default, metavar="DIR",
                         help=f"{help} (default: the one that ships with goodparts)")  # fmt: skip


def add_recipe(options: Options, *, required: bool = True, help: str = "recipe of the product") -> None:
    """Add --recipe."""
    options.add_argument("--recipe", type=Path, required=required, metavar="FILE", help=help)


def add_backend(options: Options) -> None:
    """Add --backend and --precision, which say how an engine is run."""
    options.add_argument("--backend", default="auto", help=f"auto (default), {', '.join(BACKENDS)}")
    add_precision(options)


def add_precision(options: Options) -> None:
    """Add --precision."""
    options.add_argument("--precision", default="fp32", choices=get_args(Precision),
                         help="which of the engine's graphs (default fp32)")  # fmt: skip


def add_threads(options: Options) -> None:
    """Add --threads."""
    options.add_argument("--threads", type=int, metavar="N", help="of the inference library")


def add_threshold(options: Options) -> None:
    """Add --threshold, by which the recipe's limit is multiplied while the command runs."""
    options.add_argument("--threshold", type=float, metavar="T",
                         help="score from which a part is rejected: 1 is the recipe's limit, "
                              "1.2 lets parts pass that score up to 1.2 (default 1)")  # fmt: skip


def add_review(options: Options, *, help: str) -> None:
    """Add --review, the lower limit of the band of parts that a person looks at: a float, or "off"."""
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
    """Add --false-reject-rate. default: None leaves the recipe's rate as it is."""
    shown = "default: the recipe's" if default is None else f"default {default}"
    options.add_argument("--false-reject-rate", type=float, default=default, metavar="P",
                         help=f"share of good parts that may be rejected ({shown})")  # fmt: skip


def add_bad(options: Options) -> None:
    """Add --bad."""
    options.add_argument("--bad", type=Path, nargs="+", default=[], metavar="PATH",
                         help="bad photos: shows how far off they are and proposes a threshold")  # fmt: skip


def add_region(options: Options, *, roi_help: str, mask_help: str) -> None:
    """Add --roi and --mask, which say where in a frame to look."""
    options.add_argument("--roi", metavar="X,Y,W,H", help=roi_help)
    options.add_argument("--mask", type=Path, metavar="FILE", help=mask_help)


def add_view(options: Options) -> None:
    """Add the options that `read_view` reads."""
    add_region(options, roi_help="region of interest in frame pixels (default: the whole frame)",
               mask_help="a picture of the frame's size, white where to look, black elsewhere")  # fmt: skip
    options.add_argument("--tiles", metavar="RxC", default="1x1",
                         help="cut the region into rows x columns, for small defects (default 1x1)")  # fmt: skip
    options.add_argument("--overlap", type=float, default=0.1, metavar="F",
                         help="what neighbouring tiles share, as a part of their side (default 0.1)")  # fmt: skip
    options.add_argument("--resize", choices=["squash", "letterbox"], default="squash",
                         help="fill the encoder's square, or keep the aspect ratio (default squash)")  # fmt: skip


def read_view(args: argparse.Namespace) -> View:
    """Return the view that --roi, --mask, --tiles, --overlap and --resize describe."""
    roi = None if args.roi is None else Box.parse(args.roi)
    try:
        rows, columns = (int(count) for count in args.tiles.lower().split("x"))
    except ValueError:
        raise SettingsError(f"--tiles {args.tiles}: give rows x columns, as in 2x3") from None
    mask = None if args.mask is None else read_mask(args.mask)
    return View(roi=roi, mask=mask, resize=args.resize, tiles=(rows, columns), overlap=args.overlap)


def add_memory(options: Options) -> None:
    """Add --poses and --memory-share, which say what is remembered of the photos."""
    options.add_argument("--poses", action="store_true",
                         help="remember photos turned and mirrored too, for parts that may lie in any way")  # fmt: skip
    options.add_argument("--memory-share", type=float, default=1.0, metavar="F",
                         help="remember this share of the patches, the most different first (default 1)")  # fmt: skip


def add_rejection(options: Options) -> None:
    """Add the options that say when a product that is learned is rejected; write_recipe.py reads them."""
    add_false_reject_rate(options)
    add_renamed(options, "--calibrate-on", "--good")
    options.add_argument("--good", type=Path, nargs="+", default=[], metavar="PATH",
                         help="further good photos, to set the thresholds by; 20 to 50 make them sound")  # fmt: skip
    add_bad(options)
    add_review(options, help="parts from this score on that are not rejected get the verdict review, as in 0.8 "
                             "(default: off)")  # fmt: skip


def add_no_shots(options: Options) -> None:
    """Add --no-shots."""
    options.add_argument("--no-shots", action="store_true",
                         help="leave the shots out of the recipe; it then fits only this engine's graph")  # fmt: skip


def add_key(options: Options, *, required: bool = False) -> None:
    """Add --key, for a command that writes a recipe which may be signed."""
    options.add_argument("--key", type=Path, required=required, metavar="FILE", help="private key to sign it with")


def add_trust(options: Options) -> None:
    """Add --accept-signed, for a command that only reads recipes."""
    options.add_argument("--accept-signed", type=Path, metavar="FILE",
                         help="take only recipes that are signed with a public key of this file")  # fmt: skip
