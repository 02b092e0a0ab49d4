"""Thresholds from good photos alone.

Each shot is scored as if it were new: against the memory of the other shots (leave-one-out), or, where
there is only one, as slightly shifted copies of itself. Better still are further good photos that the memory
has never seen. What good parts score that way gives the location and spread from which thresholds follow, on the
assumption that the logarithms of good parts' scores are normally distributed. The prompts stay as they are.
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
"""Views uint8 [B,S,S,3] → Features: an engine's graph, or torch."""

FALSE_REJECT_RATE = 0.05
"""Default share of good parts that may be rejected; with four photos it is about what happens (docs/accuracy.md)."""

PRIOR_SPREAD = 0.15
"""Spread of log scores expected before any photo is seen; counts as much as PRIOR_PHOTOS photos."""
PRIOR_PHOTOS = 4

COPY_INFLATION = 1.2
"""Shifted copies of one photo lie closer to its memory than another good part does: their scores times this."""
COPY_SPREAD = 0.3
"""And they say nothing of how much good parts differ: spread of log scores assumed for a single photo."""

LARGEST_LOGARITHM = 100.0
"""The bound of a score's logarithm. No score reaches it, and no exponential overflows below it."""


class Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What good parts score at one level: the scores themselves, and mean and spread of their logarithms."""

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
        """Return the score that good parts exceed with this probability, for log-normal scores."""
        return math.exp(self.location + NormalDist().inv_cdf(1.0 - false_reject_rate) * self.spread)

    def scaled(self, factor: float) -> Level:
        """Return the level as it would be with every score this many times as high."""
        return Level(tuple(score * factor for score in self.scores), self.location + math.log(factor), self.spread)


Source = Literal["leave-one-out", "copies", "further photos", "unlabelled parts"]
"""What a calibration rests on."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Good parts at both levels: image scores, and maxima of the anomaly map, one of each per photo.

    The scores of "unlabelled parts" are those of all of them, a few bad ones included.
    """

    source: Source
    image: Level
    pixel: Level

    def photos_missing(self, false_reject_rate: float) -> int:
        """Return how many more good photos it takes to verify a rate: n photos can verify 1/(n+1).

        The copies of a single photo count as one.
        """
        photos = 1 if self.source == "copies" else len(self.image.scores)
        return max(0, math.ceil(1.0 / false_reject_rate - 1e-9) - 1 - photos)


def score_shots(learned: Learned, features: Features, shots: Array8, per_photo: int, encode: Encode) -> list[Branches]:
    """What a product's own shots score as if they were new, per_photo views each: features and views (uint8
    [k·per_photo,S,S,3]).

    `encode` is called only for a single photo, for its shifted copies.
    """
    count = len(shots) // per_photo
    if count == 1:
        return [score_branches(encode(views), learned) for views in shifted_copies(shots)]
    return score_as_new(learned, [features[index * per_photo : (index + 1) * per_photo] for index in range(count)])


def score_as_new(learned: Learned, photos: Sequence[Features]) -> list[Branches]:
    """Score each of a product's photos, in their order, against the rows of the others."""
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
            similarity[end - len(queries[photo]) : end] = -np.inf  # its own
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
    """Return what was learned, its memory without the rows of one shot."""
    kept = [shots != shot for shots in learned.shot_of_row]
    banks = tuple(bank[rows] for bank, rows in zip(learned.banks, kept, strict=True))
    shots = tuple(shots[rows] for shots, rows in zip(learned.shot_of_row, kept, strict=True))
    return dataclasses.replace(learned, banks=banks, shot_of_row=shots, margins=())


def calibrate(good: Sequence[Branches], learned: Learned, copies: bool) -> Calibration:
    """Calibrate a product on what its own shots score (score_shots); copies: whether they are of a single photo."""
    image, pixel = photo_scores([combine(photo, learned) for photo in good])
    if not copies:
        return summarise("leave-one-out", image, pixel)
    return Calibration(
        source="copies",
        image=_level(image * COPY_INFLATION, COPY_SPREAD),
        pixel=_level(pixel * COPY_INFLATION, COPY_SPREAD),
    )


def calibrate_on(learned: Learned, photos: Sequence[Array8], encode: Encode) -> Calibration:
    """Calibrate on good photos that are not in the memory: the views [per_photo,S,S,3] of each."""
    return summarise("further photos", *photo_scores(score_photos(learned, photos, encode)))


def score_photos(learned: Learned, photos: Sequence[Array8], encode: Encode) -> list[Scores]:
    """Score each photo's views."""
    return [score(encode(views), learned) for views in photos]


def photo_scores(photos: Sequence[Scores]) -> tuple[Floats, Floats]:
    """Return image score and map maximum of each photo, over its views: [n], [n]."""
    image = [photo.image.max() for photo in photos]
    pixel = [max(anomaly_map(grid).max() for grid in photo.grid) for photo in photos]
    return np.array(image, np.float32), np.array(pixel, np.float32)


def shifted_copies(views: Array8) -> list[Array8]:
    """Return one photo's views uint8 [T,S,S,3] moved and enlarged by 4 %, towards each corner.

    Of the mild changes between two good parts this is the one that matters to the memory; changes of light and
    sharpness were tried and score next to nothing.
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
    """Make a calibration from the scores of good photos."""
    return Calibration(source=source, image=_level(image), pixel=_level(pixel))


def _level(values: npt.NDArray[np.floating], spread: float | None = None) -> Level:
    """Location and spread of log scores; a spread that is not given is drawn from them towards the prior, and
    widened for few photos."""
    logs = np.log(np.maximum(values.astype(np.float64), SMALLEST_SCORE))
    count = len(logs)
    if spread is None:
        around = float(((logs - logs.mean()) ** 2).sum())
        variance = (PRIOR_PHOTOS * PRIOR_SPREAD**2 + around) / (PRIOR_PHOTOS + count - 1)
        spread = math.sqrt(variance * (1.0 + 1.0 / count))
    return Level(tuple(float(value) for value in values), float(logs.mean()), spread)


@dataclasses.dataclass(frozen=True)
class Separation:
    """Good and bad photos' image scores beside each other.

    threshold: the proposed one; it rejects `rejected` of the good and misses `missed` of the bad.
    """

    threshold: float
    rejected: int
    missed: int


def separate(good: Floats, bad: Floats, threshold: float) -> Separation:
    """Return the threshold at which the shares of good photos rejected and bad ones missed are least in sum.

    Among equally good ones it is the nearest to `threshold`, which good photos gave and which may be one of them; the
    others lie half-way between two scores in the logarithm.
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
