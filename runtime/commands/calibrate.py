"""`goodparts calibrate`: thresholds from more good photos, and what bad ones say about them."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from ..core.files import require_folder_of
from ..describe import describe_recalibration, describe_thresholds
from ..detector import Detector
from ..recipe.recalibrate import recalibrate
from ..recipe.refit import encode_for
from ..recipe.signing import Signer
from .options import (
    add_backend,
    add_bad,
    add_engine,
    add_false_reject_rate,
    add_key,
    add_recipe,
    add_review,
    add_simulate,
)
from .printing import print_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_engine(parser)
    add_recipe(parser, help="recipe to calibrate")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write it (default: in place)")
    parser.add_argument("--good", type=Path, nargs="+", default=[], metavar="PATH",
                        help="good photos other than the shots; 20 to 50 make a sound threshold")  # fmt: skip
    add_bad(parser)
    add_simulate(parser)
    add_false_reject_rate(parser, default=None)
    parser.add_argument("--threshold", type=float, metavar="T",
                        help="set the limit by hand: 1.2 lets parts pass that score up to 1.2 now")  # fmt: skip
    add_review(parser, help="parts from this score on that are not rejected get the verdict review, as in 0.8; "
                            "off takes that back")  # fmt: skip
    add_key(parser)
    add_backend(parser)


def run(args: argparse.Namespace) -> int:
    out = args.out or args.recipe
    require_folder_of(out)
    signer = None if args.key is None else Signer.read(args.key)
    detector = Detector.open(args.engine, args.recipe, backend=args.backend, precision=args.precision, verify=True)
    rate = args.false_reject_rate
    if rate is None:
        rate = detector.recipe.header.false_reject_rate
    encode = encode_for(detector.engine, detector.recipe)
    recalibration = recalibrate(detector.recipe, encode, args.good, args.bad, rate, args.simulate)
    recipe = recalibration.recipe
    if args.threshold is not None:
        thresholds = recipe.header.thresholds.scaled_by(args.threshold)
        thresholds.check()
        recipe = recipe.with_thresholds(thresholds)
    if args.review is not None:
        review = None if args.review == "off" else args.review
        recipe = recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, review=review))
    recipe.save(out, signer)
    print_lines(
        [
            f"{out}: thresholds of {recipe.header.product!r}",
            *describe_thresholds(recipe.header),
            *describe_recalibration(recalibration),
        ]
    )
    return 0
