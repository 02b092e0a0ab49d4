"""What to do after a product was tried, by what was found."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from .trial import Trial

FEW_GOOD = 20
"""With fewer good photos inspected, the share of them that is rejected is a rough guess."""
SEVERAL_SHOTS = 16
"""More photos to learn from are advised up to this many."""


class Advice(NamedTuple):
    """What to do next, and the command that does it; None where there is none."""

    sentence: str
    command: str | None = None


def advise(trial: Trial) -> list[Advice]:
    """Return what to do next, the most useful first."""
    rejected, missed = trial.errors(trial.limits[0])
    good, bad = int((~trial.bad).sum()), int(trial.bad.sum())
    tried, images, name = (shlex.quote(str(word)) for word in (trial.folder, trial.images, trial.product))
    recipe = shlex.quote(f"{trial.product.replace(' ', '_').replace('/', '_')}.safetensors")
    again = f"goodparts try {tried} --product {name}"
    height, width = trial.patch
    advice = []
    if bad == 0:
        advice.append(
            Advice(
                "No bad part was shown. Put photos of good parts into good/ and of bad ones into bad/, and try again: "
                "that shows what is found and what is missed. Until then, look at the parts with the highest scores."
            )
        )
    if missed:
        advice.append(
            Advice(
                f"The limit lets {missed} of {bad} bad parts pass. Look at them on the sheet. Where the defect lights "
                "up, the limit is too high: settle in on parts of the line, as in the last step here. Where it stays "
                f"dark, it may be too small: a patch sees {width:.0f}×{height:.0f} pixels of your photo. Look at less "
                "of it with --roi x,y,width,height, or cut it into tiles.",
                f"{again} --tiles 2x2",
            )
        )
    if rejected:
        more = min(2 * len(trial.shots), SEVERAL_SHOTS, (len(trial.shots) + good) // 2)
        advice.append(
            Advice(
                f"The limit rejects {rejected} of {good} good parts. Look at them on the sheet. If they lie or are lit "
                "differently from the photos it learned from, learn from more photos.",
                f"{again} --shots {more}" if more > len(trial.shots) else None,
            )
        )
    if good < FEW_GOOD:
        parts = f"{good} good part was" if good == 1 else f"{good} good parts were"
        advice.append(Advice(f"Only {parts} inspected, so the share that a line would reject is a rough guess."))
    return [
        *advice,
        Advice(
            "Keep what is learned, from all your good photos, in a recipe.",
            f"goodparts teach --images {images} --product {name} --out {recipe}",
        ),
        Advice(
            "Watch a camera, a video or a folder with it, and settle in on the first hundred parts.",
            f"goodparts watch --recipe {recipe} --source /dev/video0 --settle 100 --page",
        ),
    ]
