"""`goodparts calibrate`: thresholds from more good photos, and what bad ones say about them."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np

from ..backends.registry import BACKENDS
from ..backends.session import Precision
from ..core.errors import SettingsError
from ..core.files import read_bytes, require_folder_of
from ..core.image_files import find_images
from ..core.preprocess import Array8, decode
from ..describe import describe_thresholds
from ..detector import Detector
from ..recipe.calibrate import Encode, calibrate_on, photo_scores, score_photos, separate
from ..recipe.recipe import Recipe
from ..recipe.refit import encode_for
from ..recipe.signing import Signer
from ..recipe.simulate import simulate
from .sign import add_key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", type=Path, required=True, metavar="DIR", help="engine folder")
    parser.add_argument("--recipe", type=Path, required=True, metavar="FILE", help="recipe to calibrate")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write it (default: in place)")
    parser.add_argument("--good", type=Path, nargs="+", default=[], metavar="PATH",
                        help="good photos other than the shots; 20 to 50 make a sound threshold")  # fmt: skip
    parser.add_argument("--bad", type=Path, nargs="+", default=[], metavar="PATH",
                        help="bad photos: shows how far off they are and proposes a threshold")  # fmt: skip
    add_simulate(parser)
    parser.add_argument("--false-reject-rate", type=float, metavar="P",
                        help="share of good parts that may be rejected (default: the recipe's)")  # fmt: skip
    parser.add_argument("--threshold", type=float, metavar="T", help="set the image threshold by hand")
    add_key(parser)
    parser.add_argument("--backend", default="auto", help=f"auto (default), {', '.join(BACKENDS)}")
    parser.add_argument("--precision", default="fp32", choices=get_args(Precision))


def add_simulate(parser: argparse._ActionsContainer) -> None:
    """The option that this command and train-and-export share."""
    parser.add_argument("--simulate", action="store_true",
                        help="place the thresholds between good photos and shots with painted defects, "
                             "in place of a rate: misses fewer bad parts, may reject more good ones")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    out = args.out or args.recipe
    require_folder_of(out)
    signer = None if args.key is None else Signer.read(args.key)
    detector = Detector.open(args.engine, args.recipe, backend=args.backend, precision=args.precision, verify=True)
    rate = args.false_reject_rate
    if rate is None:
        rate = detector.recipe.header.false_reject_rate
    encode = encode_for(detector.engine, detector.recipe)
    recipe, lines = recalibrated(detector.recipe, encode, args.good, args.bad, rate, args.simulate)
    if args.threshold is not None:
        thresholds = msgspec.structs.replace(recipe.header.thresholds, image=args.threshold)
        thresholds.check()
        recipe = recipe.with_thresholds(thresholds)
    recipe.save(out, signer)
    print("\n".join([f"{out}: thresholds of {recipe.header.product!r}", *describe_thresholds(recipe.header), *lines]))
    return 0


def recalibrated(
    recipe: Recipe,
    encode: Encode,
    good: Sequence[Path],
    bad: Sequence[Path],
    false_reject_rate: float,
    simulated: bool = False,
) -> tuple[Recipe, list[str]]:
    """The recipe with thresholds for a rate, on further good photos where there are any; simulated: between these and
    painted defects instead.

    Also what bad photos say, as lines to print.
    """
    if not 0.0 < false_reject_rate < 0.5:
        raise SettingsError(f"--false-reject-rate {false_reject_rate}: between 0 and 0.5, as in 0.01")
    learned = recipe.learned()
    calibration = recipe.header.calibration
    if good:
        calibration = calibrate_on(learned, _load(recipe, good), encode)
    # With nothing new to go by, a threshold that was set by hand stays.
    if good or false_reject_rate != recipe.header.false_reject_rate:
        recipe = recipe.recalibrate(calibration, false_reject_rate)
    lines = []
    if simulated:
        simulation = simulate(recipe, encode)
        recipe = recipe.with_thresholds(simulation.thresholds)
        lines.append(
            f"  simulated bad parts score {_spread(simulation.bad)}; the threshold misses {simulation.missed} of "
            f"{len(simulation.bad)} and is expected to reject {simulation.rejected:.1%} of good parts"
        )
    if not bad:
        return recipe, lines
    bad_scores, _ = photo_scores(score_photos(learned, _load(recipe, bad), encode))
    good_scores = np.array(calibration.image.scores, np.float32)
    found, threshold = separate(good_scores, bad_scores), recipe.header.thresholds.image
    return recipe, [
        *lines,
        f"  good photos score {_spread(good_scores)}, bad ones {_spread(bad_scores)}",
        f"  at this threshold {(good_scores >= threshold).sum()} of {len(good_scores)} good photos would be rejected "
        f"and {(bad_scores < threshold).sum()} of {len(bad_scores)} bad ones missed",
        f"  proposed from both: {found.threshold:.4g}, {found.rejected} rejected and {found.missed} missed; "
        f"to take it: --threshold {found.threshold:.4g} with `goodparts calibrate` or `inspect`",
    ]


def _spread(scores: np.ndarray) -> str:
    return f"{scores.min():.4g} … {np.median(scores):.4g} … {scores.max():.4g}"


def _load(recipe: Recipe, paths: Sequence[Path]) -> list[Array8]:
    """The views of each photo. One that the recipe was learned from is refused: it would score nothing."""
    shots = {shot.sha256: shot.name for shot in recipe.header.shots}
    size, view = recipe.header.encoder.image_size, recipe.header.view
    views = []
    for path in find_images(paths):
        data = read_bytes(path)
        if (name := shots.get(hashlib.sha256(data).hexdigest())) is not None:
            raise SettingsError(f"{path} is the shot {name} that the recipe was learned from: leave it out")
        views.append(view.cut(decode(data, str(path)), size))
    return views
