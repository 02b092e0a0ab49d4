"""`goodparts calibrate`: proposes thresholds from more photos, and writes them on request."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from ..core.errors import SettingsError
from ..core.files import printable
from ..core.outputs import require_output
from ..core.preprocess import load_rgb
from ..describe import describe_proposal
from ..detector import Detector
from ..inspection import format_score
from ..recipe.recalibrate import Recalibration, recalibrate
from ..recipe.recipe import Recipe
from ..recipe.refit import encode_for
from ..recipe.settle import SETTLING_RATE
from ..recipe.signing import Signer
from .options import (
    add_backend,
    add_bad,
    add_engine,
    add_false_reject_rate,
    add_key,
    add_recipe,
    add_renamed,
    add_review,
)
from .overlay_writer import OverlayWriter
from .printing import ask, print_lines
from .write_recipe import keep_former


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser, help="recipe to calibrate")
    add_engine(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write it (default: in place)")
    parser.add_argument("--good", type=Path, nargs="+", default=[], metavar="PATH",
                        help="good photos other than the shots; 20 to 50 make a reliable threshold")  # fmt: skip
    parser.add_argument("--unlabelled", type=Path, nargs="+", default=[], metavar="PATH",
                        help="unsorted photos of parts, a few of them bad; take about 100")  # fmt: skip
    parser.add_argument("--sheet", type=Path, metavar="FILE",
                        help="write a picture of the unlabelled parts above the proposed threshold")  # fmt: skip
    add_renamed(parser, "--calibrate-on", "--good")
    add_bad(parser)
    add_false_reject_rate(parser, default=None)
    parser.add_argument("--threshold", type=float, metavar="T",
                        help="set the threshold directly: with 1.2, parts that score below 1.2 pass")  # fmt: skip
    add_review(parser, help="set directly the score from which a part that is not rejected gets the verdict review, "
                            "such as 0.8; off removes it")  # fmt: skip
    parser.add_argument("--take", action="store_true", help="write the proposal without asking")
    add_key(parser)
    add_backend(parser)


def run(args: argparse.Namespace) -> int:
    out = args.out or args.recipe
    require_output(out, "recipe")
    if args.sheet is not None:
        require_output(args.sheet, "picture")
    if args.sheet is not None and not args.unlabelled:
        raise SettingsError("--sheet shows unlabelled parts: give --unlabelled PATH, or leave it out")
    signer = None if args.key is None else Signer.read(args.key)
    detector = Detector.open(args.engine, args.recipe, backend=args.backend, precision=args.precision, verify=True)
    if args.threshold is not None or args.review is not None:
        kept = _write(_set_by_hand(args, detector.recipe), args, signer)
        print_lines([f"{out} is written: {_describe_setting(args)}", *kept])
        return 0
    if args.take:
        detector.recipe.check_key(signer)
    rate = args.false_reject_rate
    if rate is None:
        rate = SETTLING_RATE if args.unlabelled else detector.recipe.header.false_reject_rate
    encode = encode_for(detector.engine, detector.recipe)
    recalibration = recalibrate(detector.recipe, encode, args.good, args.bad, rate, args.unlabelled)
    print_lines(describe_proposal(args.recipe, recalibration, args.take))
    before, after = recalibration.before.header.thresholds, recalibration.recipe.header.thresholds
    proposed = format_score(before.score(after.image))
    if args.sheet is not None:
        _write_sheet(args.sheet, detector, recalibration)
    if missed := recalibration.missed_more:
        print(f"  warning: the proposed threshold misses {missed} more of the bad photos than today's")
        if args.take:
            raise SettingsError(
                f"{printable(args.recipe)} is not changed: --take writes no threshold that misses more of --bad "
                "than today's; set one with --threshold T, or leave --bad out"
            )
    if not recalibration.changes:
        print("the recipe is not changed")
    elif args.take or ask("write it?"):
        kept = _write(recalibration.recipe, args, signer)
        print_lines([f"{out} is written; a running watch takes it within a second", *kept])
    else:
        print(f"nothing was changed: --take writes the proposed threshold, {proposed}")
    return 0


def _write(recipe: Recipe, args: argparse.Namespace, signer: Signer | None) -> list[str]:
    """Write the recipe, and return a line about another recipe that --out replaces; none if there is none."""
    if args.out is None:
        recipe.save(args.recipe, signer)
        return []
    kept = keep_former(args.out, recipe.to_bytes(signer))
    recipe.save(args.out, signer)
    return kept


def _set_by_hand(args: argparse.Namespace, recipe: Recipe) -> Recipe:
    """Return the recipe with the thresholds that --threshold and --review set."""
    if args.good or args.unlabelled or args.false_reject_rate is not None:
        option = "--review" if args.threshold is None else "--threshold"
        raise SettingsError(
            f"{option} sets a threshold directly: leave out --good, --unlabelled and --false-reject-rate"
        )
    thresholds = recipe.header.thresholds
    if args.threshold is not None:
        thresholds = thresholds.scaled_by(args.threshold)
    if args.review is not None:
        thresholds = msgspec.structs.replace(thresholds, review=None if args.review == "off" else args.review)
    thresholds.check()
    return recipe.with_thresholds(thresholds)


def _describe_setting(args: argparse.Namespace) -> str:
    """Return what --threshold and --review changed."""
    changes = []
    if args.threshold is not None:
        changes.append(f"a part that scored {args.threshold:g} now scores 1.00 and is rejected")
    if args.review is not None:
        changes.append(
            "no part gets the verdict review" if args.review == "off" else f"review from score {args.review:g}"
        )
    return "; ".join(changes)


def _write_sheet(file: Path, detector: Detector, recalibration: Recalibration) -> None:
    """Write a contact sheet of the parts above the proposed threshold, highest score first."""
    settlement = recalibration.settlement
    assert settlement is not None  # `run` requires --unlabelled with --sheet.
    detector.thresholds = recalibration.recipe.header.thresholds
    sheet = OverlayWriter(None, file, [])
    for index in settlement.beyond():
        frame = load_rgb(recalibration.unlabelled[index])
        sheet.add(recalibration.unlabelled[index], frame, detector.predict(frame))
    sheet.close()
    if settlement.beyond():
        print_lines([f"  {printable(file)} shows them; there, score 1.00 is the proposed threshold"])
    else:
        print_lines([f"  {printable(file)} is not written: no part reaches the proposed threshold"])
