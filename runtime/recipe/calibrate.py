"""Thresholds from photos of good parts only.

Each shot is scored as if it were new: against the memory of the other shots (leave-one-out). A single shot is replaced
by slightly shifted copies of itself. Further good photos, which are not in the memory, are better still. The mean and
the spread of the logarithms of these scores give the thresholds, on the assumption that the logarithms are normally
distributed. The prompts are not changed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from ..core.errors import SettingsError
from ..core.preprocess import Array8
from ..core.scoring import (
    SMALLEST_SCORE,
    Branches,
    Features,
    Floats,
    Learned,
    Scores,
    anomaly_map,
    combine,
    nearest,
    score,
    score_branches,
    with_prompts,
)

Encode = Callable[[Array8], Features]
"""A function that encodes views, [B,S,S,3], uint8, RGB: an engine's graph, or torch."""

FALSE_REJECT_RATE = 0.05
"""The default share of good parts that may be rejected. With four photos it holds approximately (docs/accuracy.md)."""

PRIOR_SPREAD = 0.15
"""The spread of log scores that is expected before any photo is seen."""
PRIOR_PHOTOS = 4
"""The number of photos that PRIOR_SPREAD counts for."""

COPY_INFLATION = 1.2
"""Multiplies the scores of shifted copies, which lie closer to their photo's memory than another good part does."""
COPY_SPREAD = 0.3
"""The spread of log scores assumed for a single photo, whose copies do not tell how much good parts differ."""

LARGEST_LOGARITHM = 100.0
"""The largest accepted logarithm of a score. Those of real scores are much smaller, and exp(100) does not overflow."""


def check_false_reject_rate(rate: float) -> None:
    """Check a share of good parts that may be rejected.

    Args:
        rate: The share, above 0 and below 0.5.

    Raises:
        SettingsError: The share is out of range.
    """
    if not 0.0 < rate < 0.5:
        raise SettingsError(f"--false-reject-rate {rate}: between 0 and 0.5, as in 0.01")


class Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The scores of good parts at one level, of images or of pixels.

    Attributes:
        scores: The raw scores.
        location: The mean of their natural logarithms; of unlabelled parts, the median.
        spread: The spread of the logarithms from which thresholds follow, above 0.

    Raises:
        ValueError: There is no score, or a number is out of range.
    """

    scores: tuple[float, ...]
    location: float
    spread: float

    def __post_init__(self) -> None:
        if not self.scores or self.spread <= 0 or max(self.spread, abs(self.location)) > LARGEST_LOGARITHM:
            raise ValueError(
                f"{len(self.scores)} scores of good parts, their logarithms at {self.location} ± {self.spread}: at "
                f"least one score, and numbers up to {LARGEST_LOGARITHM} are accepted, the spread above 0"
            )

    def threshold(self, false_reject_rate: float) -> float:
        """Return the score that good parts exceed with this probability, for log-normal scores.

        Args:
            false_reject_rate: The probability, above 0 and below 1.
        """
        return math.exp(self.location + NormalDist().inv_cdf(1.0 - false_reject_rate) * self.spread)

    def scaled(self, factor: float) -> Level:
        """Return the level with every score multiplied by a factor.

        Args:
            factor: The factor, above 0.
        """
        return Level(tuple(score * factor for score in self.scores), self.location + math.log(factor), self.spread)


Source = Literal["leave-one-out", "copies", "further photos", "unlabelled parts"]
"""The photos that a calibration rests on."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The scores of good parts at both levels. Each level has one score for each photo.

    Attributes:
        source: The photos that it rests on. "unlabelled parts" may have a few bad parts among them, whose scores are
            listed too.
        image: The image scores.
        pixel: The maxima of the anomaly maps.
    """

    source: Source
    image: Level
    pixel: Level

    def photos_missing(self, false_reject_rate: float) -> int:
        """Return how many more good photos are needed to verify a rate.

        n photos verify the rate 1/(n+1). The copies of a single photo count as one photo.

        Args:
            false_reject_rate: The share of good parts that may be rejected, above 0.
        """
        photos = 1 if self.source == "copies" else len(self.image.scores)
        return max(0, math.ceil(1.0 / false_reject_rate - 1e-9) - 1 - photos)


def score_shots(learned: Learned, features: Features, shots: Array8, per_photo: int, encode: Encode) -> list[Branches]:
    """Return the scores of a product's shots as if they were new; for a single shot, the scores of its shifted copies.

    Args:
        learned: The product, with the memory of all its shots.
        features: The features of the shots' views.
        shots: The views, [k·per_photo,S,S,3], uint8, RGB.
        per_photo: The number of views of each shot.
        encode: Encodes views; called only for the copies of a single shot.
    """
    count = len(shots) // per_photo
    if count == 1:
        return [score_branches(encode(views), learned) for views in shifted_copies(shots)]
    return score_as_new(learned, [features[index * per_photo : (index + 1) * per_photo] for index in range(count)])


def score_as_new(learned: Learned, photos: Sequence[Features]) -> list[Branches]:
    """Return the scores of each of a product's photos against the memory of the others.

    Args:
        learned: The product, with the memory of all the photos.
        photos: The features of each photo's views, in the order of the photos in the memory.
    """
    if learned.fusion == "subspace":
        return [score_branches(photo, without_shot(learned, index)) for index, photo in enumerate(photos)]
    similarities, margins = [], []
    for tap, (bank, shots) in enumerate(zip(learned.banks, learned.shot_of_row, strict=True)):
        queries = [photo.memory[tap].reshape(-1, bank.shape[1]) for photo in photos]
        ends = np.cumsum([len(rows) for rows in queries])
        every, best = np.concatenate(queries), np.full(ends[-1], -np.inf, np.float32)
        margin = np.zeros(ends[-1], np.float32)
        for photo, end in enumerate(ends):
            of_photo = shots == photo
            similarity, rows = nearest(every, bank[of_photo])
            similarity[end - len(queries[photo]) : end] = -np.inf  # its own rows
            is_better = similarity > best
            best[is_better] = similarity[is_better]
            if learned.margins:
                margin[is_better] = learned.margins[tap][of_photo][rows[is_better]]
        similarities.append(np.split(best, ends[:-1]))
        margins.append(np.split(margin, ends[:-1]))
    return [
        with_prompts(photo, learned, similarity, margin if learned.margins else ())
        for photo, similarity, margin in zip(
            photos, zip(*similarities, strict=True), zip(*margins, strict=True), strict=True
        )
    ]


def without_shot(learned: Learned, shot: int) -> Learned:
    """Return a product without one shot's rows of the memory and without margins.

    Args:
        learned: The product.
        shot: The shot's index.
    """
    kept = [shots != shot for shots in learned.shot_of_row]
    banks = tuple(bank[rows] for bank, rows in zip(learned.banks, kept, strict=True))
    shots = tuple(shots[rows] for shots, rows in zip(learned.shot_of_row, kept, strict=True))
    return dataclasses.replace(learned, banks=banks, shot_of_row=shots, margins=())


def calibrate(good: Sequence[Branches], learned: Learned, copies: bool) -> Calibration:
    """Return the calibration of a product on its own shots.

    Args:
        good: The scores of the shots (`score_shots`).
        learned: The product, which tells how branches are combined.
        copies: Whether `good` is of the copies of a single shot.
    """
    image, pixel = photo_scores([combine(photo, learned) for photo in good])
    if not copies:
        return summarise("leave-one-out", image, pixel)
    return Calibration(
        source="copies",
        image=_level(image * COPY_INFLATION, COPY_SPREAD),
        pixel=_level(pixel * COPY_INFLATION, COPY_SPREAD),
    )


def calibrate_on(learned: Learned, photos: Sequence[Array8], encode: Encode) -> Calibration:
    """Return the calibration of a product on good photos that are not in its memory.

    Args:
        learned: The product.
        photos: The views of each photo, [tiles,S,S,3], uint8, RGB; at least one photo.
        encode: Encodes views.
    """
    return summarise("further photos", *photo_scores(score_photos(learned, photos, encode)))


def score_photos(learned: Learned, photos: Sequence[Array8], encode: Encode) -> list[Scores]:
    """Return the scores of each photo's views.

    Args:
        learned: The product.
        photos: The views of each photo, [tiles,S,S,3], uint8, RGB.
        encode: Encodes views.
    """
    return [score(encode(views), learned) for views in photos]


def photo_scores(photos: Sequence[Scores]) -> tuple[Floats, Floats]:
    """Return the image score, [n], and the maximum of the anomaly map, [n], of each photo over its views.

    Args:
        photos: The scores of each photo's views.
    """
    image = [photo.image.max() for photo in photos]
    pixel = [max(anomaly_map(grid).max() for grid in photo.grid) for photo in photos]
    return np.array(image, np.float32), np.array(pixel, np.float32)


def shifted_copies(views: Array8) -> list[Array8]:
    """Return four copies of a photo, each enlarged by 4 % and moved towards a corner.

    Two good parts differ a little in position, light and sharpness. Only a shift raises the memory's score much;
    changes of light and sharpness were tried and hardly raise it.

    Args:
        views: The photo's views, [tiles,S,S,3], uint8, RGB.
    """
    size = views.shape[1]
    part = 0.96 * size
    rest = size - part
    copies = []
    for x, y in ((0.0, 0.0), (rest, 0.0), (0.0, rest), (rest, rest)):
        box = (x, y, x + part, y + part)
        moved = [Image.fromarray(view).resize((size, size), Image.Resampling.BICUBIC, box=box) for view in views]
        copies.append(np.stack([np.asarray(image) for image in moved]))
    return copies


def summarise(source: Source, image: Floats, pixel: Floats) -> Calibration:
    """Return a calibration from the scores of good photos.

    Args:
        source: The kind of photos.
        image: Their image scores, [n], at least one.
        pixel: The maxima of their anomaly maps, [n].
    """
    return Calibration(source=source, image=_level(image), pixel=_level(pixel))


def _level(values: npt.NDArray[np.floating], spread: float | None = None) -> Level:
    """Return the level of scores [n].

    Without a given spread, the spread is estimated, drawn towards the prior, and widened for few photos.
    """
    logs = np.log(np.maximum(values.astype(np.float64), SMALLEST_SCORE))
    count = len(logs)
    if spread is None:
        around = float(((logs - logs.mean()) ** 2).sum())
        variance = (PRIOR_PHOTOS * PRIOR_SPREAD**2 + around) / (PRIOR_PHOTOS + count - 1)
        spread = math.sqrt(variance * (1.0 + 1.0 / count))
    return Level(tuple(float(value) for value in values), float(logs.mean()), spread)


@dataclasses.dataclass(frozen=True)
class Separation:
    """A threshold between good and bad photos, and its errors.

    Attributes:
        threshold: The raw image score.
        rejected: How many of the good photos it rejects.
        missed: How many of the bad photos it misses.
    """

    threshold: float
    rejected: int
    missed: int


def separate(good: npt.NDArray[np.floating], bad: npt.NDArray[np.floating], threshold: float) -> Separation:
    """Return the threshold that minimises the sum of two shares: good photos rejected, and bad photos missed.

    The candidates are `threshold`, the points half-way between the logarithms of neighbouring scores, and one point
    below and one above all scores. Of equally good candidates, the nearest to `threshold` is returned.

    Args:
        good: Raw image scores of good photos, [n], at least one.
        bad: Raw image scores of bad photos, [m], at least one.
        threshold: The present threshold, above 0.

    Raises:
        SettingsError: Good or bad photos are missing.
    """
    if not len(good) or not len(bad):
        raise SettingsError("a threshold is proposed from good and bad photos: give at least one of each")
    logs = np.log(np.maximum(np.concatenate([good, bad]).astype(np.float64), SMALLEST_SCORE))
    edges, now = np.unique(logs), math.log(threshold)
    candidates = np.concatenate([[now, edges[0] - 0.1], (edges[:-1] + edges[1:]) / 2, [edges[-1] + 0.1]])
    rejected = (logs[None, : len(good)] >= candidates[:, None]).sum(axis=1)
    missed = (logs[None, len(good) :] < candidates[:, None]).sum(axis=1)
    errors = rejected / len(good) + missed / len(bad)
    best = min(range(len(candidates)), key=lambda index: (errors[index], abs(candidates[index] - now)))
    return Separation(float(np.exp(candidates[best])), int(rejected[best]), int(missed[best]))
