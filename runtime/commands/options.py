"""Options that several commands share, each defined once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from ..backends.registry import BACKENDS
from ..backends.session import Precision
from ..recipe.calibrate import FALSE_REJECT_RATE

Options = argparse._ActionsContainer
"""A parser, or one of its groups."""


def add_engine(options: Options, *, required: bool = True, help: str = "engine folder") -> None:
    """Add --engine."""
    options.add_argument("--engine", type=Path, required=required, metavar="DIR", help=help)


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
    """Add --threshold, which replaces the recipe's while the command runs."""
    options.add_argument("--threshold", type=float, metavar="T", help="raw image score from which a part is rejected")


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


def add_key(options: Options, *, required: bool = False) -> None:
    """Add --key, for a command that writes a recipe which may be signed."""
    options.add_argument("--key", type=Path, required=required, metavar="FILE", help="private key to sign it with")


def add_trust(options: Options) -> None:
    """Add --accept-signed, for a command that only reads recipes."""
    options.add_argument("--accept-signed", type=Path, metavar="FILE",
                         help="take only recipes that are signed with a public key of this file")  # fmt: skip
