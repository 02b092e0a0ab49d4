"""Thresholds from simulated bad parts: defects painted onto a product's shots say how high a bad part scores.

Good parts alone say how seldom one is rejected, not what is missed. Painted defects are not real ones: where good parts
differ much among themselves, a threshold that catches the fainter of them rejects good parts too.
"""

from __future__ import annotations

import dataclasses
from statistics import NormalDist

import msgspec
import numpy as np
import numpy.typing as npt

from ..core.errors import RecipeError
from ..core.preprocess import Array8
from ..core.scoring import SMALLEST_SCORE, Floats, Learned
from .calibrate import Encode, Level, photo_scores, score_photos, without
from .header import Thresholds
from .pseudo import PseudoAnomalies
from .recipe import Recipe

SIMULATED = 64
"""Bad parts, over all shots."""
EDGE = 1e-6
"""The threshold that catches a score lies below it by this share of the score."""


@dataclasses.dataclass(frozen=True)
class Simulation:
    """thresholds: placed between good and simulated bad parts; bad: image scores of these, of which the image threshold
    misses `missed`; rejected: the share of good parts that it is expected to reject."""

    thresholds: Thresholds
    bad: Floats
    rejected: float
    missed: int


def simulate(recipe: Recipe, encode: Encode, seed: int = 0) -> Simulation:
    """Paint defects onto the recipe's shots and place its thresholds where they and good parts are told apart best.

    RecipeError for a recipe without shots.
    """
    if recipe.shots is None:
        raise RecipeError("the recipe holds no shots to simulate bad parts with: train without --no-shots")
    header = recipe.header
    bad, pixel = score_painted(recipe.learned(), recipe.shots, header.view.count, encode, seed)
    calibration = header.calibration
    thresholds = msgspec.structs.replace(
        header.thresholds, image=place(calibration.image, bad), pixel=place(calibration.pixel, pixel)
    )
    rejected = float(exceeding(calibration.image, np.log(thresholds.image)))
    return Simulation(thresholds, bad, rejected, int((bad < thresholds.image).sum()))


def score_painted(
    learned: Learned, shots: Array8, per_photo: int, encode: Encode, seed: int = 0
) -> tuple[Floats, Floats]:
    """Image scores and maps' maxima, [SIMULATED] or a few less each, of defects painted onto the views of shots uint8
    [k·per_photo,S,S,3], each scored as if its shot had never been seen, as the good parts of the calibration are."""
    paint, rng = PseudoAnomalies(shots), np.random.default_rng(seed)
    count = len(shots) // per_photo
    image, pixel = [], []
    for photo in range(count):
        unseen = without(learned, photo) if count > 1 else learned
        views = photo * per_photo + rng.integers(per_photo, size=max(1, SIMULATED // count))
        painted = [paint(int(view), rng)[0][None] for view in views]
        image_scores, pixel_scores = photo_scores(score_photos(unseen, painted, encode))
        image.append(image_scores)
        pixel.append(pixel_scores)
    return np.concatenate(image), np.concatenate(pixel)


def place(good: Level, bad: Floats) -> float:
    """The threshold at which the shares of good parts rejected, if their scores are log-normal, and of the bad scores
    [N] missed are least in sum; at equal shares of missed ones the highest."""
    edges = np.unique(np.log(np.maximum(bad.astype(np.float64), SMALLEST_SCORE)))
    missed = np.array([(bad < np.exp(edge) * (1 - EDGE)).mean() for edge in edges])
    best = int(np.argmin(missed + exceeding(good, edges)))
    return float(np.exp(edges[best]) * (1 - EDGE))


def exceeding(good: Level, logs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The share of good parts that score above exp(logs)."""
    normal = NormalDist(good.location, good.spread)
    return np.array([1.0 - normal.cdf(value) for value in np.atleast_1d(logs)]).reshape(np.shape(logs))
