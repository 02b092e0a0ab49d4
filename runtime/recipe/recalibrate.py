"""New thresholds for a learned recipe: for another rate, on further good photos, or between good and painted bad parts.

Real bad photos change nothing: their scores are returned beside those of good photos, with the threshold that tells
the two apart best.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import SettingsError
from ..core.files import printable, read_bytes
from ..core.image_files import find_images
from ..core.preprocess import Array8, decode
from ..core.scoring import Floats
from .calibrate import Encode, Separation, calibrate_on, photo_scores, score_photos, separate
from .recipe import Recipe
from .simulate import Simulation, simulate


@dataclass(frozen=True, eq=False)
class BadPhotos:
    """How bad photos score beside good ones.

    good_scores, bad_scores: raw image scores, [n] and [m]; rejected: good photos that the recipe's threshold rejects;
    missed: bad photos that it lets pass; proposal: the threshold that errs on the fewest photos of both.
    """

    good_scores: Floats
    bad_scores: Floats
    rejected: int
    missed: int
    proposal: Separation


@dataclass(frozen=True, eq=False)
class Recalibration:
    """The recipe with its new thresholds, and what led to them or speaks about them.

    simulation: the painted bad parts, None where none were asked for; bad_photos: None where there were none.
    """

    recipe: Recipe
    simulation: Simulation | None = None
    bad_photos: BadPhotos | None = None


def recalibrate(
    recipe: Recipe,
    encode: Encode,
    good: Sequence[Path],
    bad: Sequence[Path],
    false_reject_rate: float,
    simulated: bool = False,
) -> Recalibration:
    """Place a recipe's thresholds anew.

    With nothing new to go by, which is neither a good photo nor another rate, a threshold that was set by hand stays.

    Args:
        recipe: the recipe; the new one is returned, and nothing is written.
        encode: views → features, by the graph that the recipe was made for.
        good: further photos of good parts, or folders of them; none of them may be a shot of the recipe.
        bad: photos of bad parts, or folders of them; they do not change the thresholds.
        false_reject_rate: share of good parts that may be rejected, above 0 and below 0.5.
        simulated: place the thresholds between good photos and shots with painted defects, instead of for the rate.

    Raises:
        SettingsError: the rate is out of range, or a photo is one of the recipe's own shots.
        RecipeError: bad parts are to be simulated, and the recipe holds no shots.
        FileError, ImageError: a photo cannot be found or read.
    """
    if not 0.0 < false_reject_rate < 0.5:
        raise SettingsError(f"--false-reject-rate {false_reject_rate}: between 0 and 0.5, as in 0.01")
    learned = recipe.learned()
    calibration = recipe.header.calibration
    if good:
        calibration = calibrate_on(learned, _load_views(recipe, good), encode)
    if good or false_reject_rate != recipe.header.false_reject_rate:
        recipe = recipe.recalibrate(calibration, false_reject_rate)
    simulation = None
    if simulated:
        simulation = simulate(recipe, encode)
        recipe = recipe.with_thresholds(simulation.thresholds)
    if not bad:
        return Recalibration(recipe, simulation)
    bad_scores, _ = photo_scores(score_photos(learned, _load_views(recipe, bad), encode))
    good_scores = np.array(calibration.image.scores, np.float32)
    threshold = recipe.header.thresholds.image
    rejected, missed = int((good_scores >= threshold).sum()), int((bad_scores < threshold).sum())
    comparison = BadPhotos(good_scores, bad_scores, rejected, missed, separate(good_scores, bad_scores))
    return Recalibration(recipe, simulation, comparison)


def _load_views(recipe: Recipe, paths: Sequence[Path]) -> list[Array8]:
    """Return the views of each photo; refuse a photo that the recipe was learned from, which would score nothing."""
    shots = {shot.sha256: shot.name for shot in recipe.header.shots}
    size, view = recipe.header.encoder.image_size, recipe.header.view
    views = []
    for path in find_images(paths):
        data = read_bytes(path)
        if (name := shots.get(hashlib.sha256(data).hexdigest())) is not None:
            raise SettingsError(f"{printable(path)} is the shot {name} that the recipe was learned from: leave it out")
        frame = decode(data, printable(path))
        view.check(frame.shape[0], frame.shape[1], printable(path))
        views.append(view.cut(frame, size))
    return views
