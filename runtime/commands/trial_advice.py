"""Advises what to do after a product was tried."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from .trial import Trial

FEW_GOOD = 20
"""If fewer good photos were inspected, the share that is rejected is a rough guess."""
SEVERAL_SHOTS = 16
"""The advice is to learn from at most this many photos."""


class Advice(NamedTuple):
    """What to do next.

    Attributes:
        sentence: The advice.
        command: The command that does it; None if there is none.
    """

    sentence: str
    command: str | None = None


def advise(trial: Trial) -> list[Advice]:
    """Return what to do next, the most useful first.

    Args:
        trial: The results.
    """
    rejected, missed = trial.errors(trial.thresholds[0])
    good, bad = int((~trial.bad).sum()), int(trial.bad.sum())
    tried, images, name = (shlex.quote(str(word)) for word in (trial.folder, trial.images, trial.product))
    recipe = shlex.quote(f"{trial.product.replace(' ', '_').replace('/', '_')}.safetensors")
    options = "".join(f" {shlex.quote(word)}" for word in trial.options)
    again = f"goodparts try {tried} --product {name}{options}"
    view = trial.detector.recipe.header.view
    height, width = trial.patch
    advice = []
    if bad == 0:
        advice.append(
            Advice(
                "No bad part was shown. Put photos of good parts into good/ and of bad ones into bad/, and try again: "
                "that shows what is found and what is missed. Until then, look at the parts with the highest scores."
            )
        )
    better = trial.better_threshold()
    if better is not None:
        shown = f"{better.threshold / trial.thresholds[0].raw:.4g}"  # fewer digits could give other counts
        advice.append(
            Advice(
                f"The threshold misses {missed} of {bad} bad parts and rejects {rejected} of {good} good ones. A "
                f"threshold of {shown} would miss {better.missed} and reject {better.rejected}. If that is better for "
                "you, learn a recipe and set its threshold on photos of good and of bad parts, as shown below."
            )
        )
    if missed and (better is None or better.missed):
        look = "Look at the bad parts that it would still miss, on the sheet."
        if better is None:
            look = (
                f"The threshold misses {missed} of {bad} bad parts, and the photos show no better one. "
                "Look at these parts on the sheet."
            )
        advice.append(
            Advice(
                f"{look} A defect that stays dark may be too small: a patch covers {width:.0f}×{height:.0f} pixels of "
                "your photo. Inspect less of the photo with --roi x,y,width,height, or cut it into tiles. Tiles do not "
                "always help: compare both sheets.",
                f"{again} --tiles 2x2 --out tiles.html" if view.count == 1 else None,
            )
        )
    if rejected:
        more = min(2 * len(trial.shots), SEVERAL_SHOTS, (len(trial.shots) + good) // 2)
        advice.append(
            Advice(
                f"The threshold rejects {rejected} of {good} good parts. Look at them on the sheet. If they lie "
                "differently from the photos that were learned from, or are lit differently, learn from more photos.",
                f"{again} --shots {more}" if more > len(trial.shots) else None,
            )
        )
    if good < FEW_GOOD:
        parts = f"{good} good part was" if good == 1 else f"{good} good parts were"
        advice.append(Advice(f"Only {parts} inspected, so the share that a line would reject is a rough guess."))
    advice.append(
        Advice(
            "Learn from all your good photos, and keep the result in a recipe.",
            f"goodparts teach --images {images} --product {name} --out {recipe}{options}",
        )
    )
    if better is not None:
        folders = " ".join(shlex.quote(str(folder)) for folder in trial.bad_folders)
        advice.append(
            Advice(
                "Set its threshold. DIR stands for a folder with 20 or more photos of good parts that it was not "
                "learned from. The command prints which threshold makes the fewest mistakes.",
                f"goodparts calibrate --recipe {recipe} --good DIR --bad {folders}",
            )
        )
    misses = any(trial.errors(threshold)[1] for threshold in trial.thresholds)
    settles = bad == 0 or (rejected and not misses)  # settling in may raise the threshold
    advice.append(
        Advice(
            "Watch a camera, a video or a folder with it"
            + (", and settle in on the first hundred parts." if settles else "."),
            f"goodparts watch --recipe {recipe} --source /dev/video0{' --settle 100' if settles else ''} --page",
        )
    )
    return advice
