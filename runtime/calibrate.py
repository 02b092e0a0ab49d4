"""Thresholds from good photos alone.

Each shot is scored as if it were new: against the memory of the other shots (leave-one-out), or, where
there is only one, as mildly changed copies of itself. What good parts score that way gives the location and
spread from which the thresholds follow. The prompts stay as they are.

With k shots there are k such scores, so no rejection rate below 1/(k+1) can be observed; the thresholds
assume that the logarithms of good parts' scores are normally distributed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

from .preprocess import Array8
from .scoring import Features, Floats, Learned, Scores, anomaly_map, score

Encode = Callable[[Array8], Features]
"""Views uint8 [B,S,S,3] → Features: an engine's graph, or torch."""

FALSE_REJECT_RATE = 0.01
"""Default share of good parts that may be rejected."""

PRIOR_SPREAD = 0.12
"""Spread of log scores expected before any shot is seen; counts as much as PRIOR_SHOTS shots."""
PRIOR_SHOTS = 4

COPY_INFLATION = 1.3
"""Changed copies of one photo lie closer to its memory than another good part does: their scores times this."""


class Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What good parts score at one level: the scores themselves, and mean and spread of their logarithms."""

    scores: tuple[float, ...]
    location: float
    spread: float

    def threshold(self, false_reject_rate: float) -> float:
        """The score that good parts exceed with this probability, for log-normal scores."""
        return math.exp(self.location + NormalDist().inv_cdf(1.0 - false_reject_rate) * self.spread)


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Good parts at both levels: image scores, and maxima of the anomaly map."""

    source: Literal["leave-one-out", "copies"]
    image: Level
    pixel: Level


def calibrate(learned: Learned, features: Features, shots: Array8, encode: Encode) -> Calibration:
    """Calibrate a product from the features and views (uint8 [k,S,S,3]) of its shots.

    `encode` is called only for a single shot, for its changed copies.
    """
    count = len(features.global_)
    if count > 1:
        scores = [score(features[i : i + 1], without(learned, i, count)) for i in range(count)]
        return Calibration(source="leave-one-out", image=_image_level(scores, 1.0), pixel=_pixel_level(scores, 1.0))
    scores = [score(encode(changed_copies(shots[0])), learned)]
    return Calibration(
        source="copies",
        image=_image_level(scores, COPY_INFLATION),
        pixel=_pixel_level(scores, COPY_INFLATION),
    )


def without(learned: Learned, shot: int, count: int) -> Learned:
    """The same product, as if this one of its `count` shots had never been seen."""

    def drop(bank: Floats) -> Floats:
        rows = len(bank) // count
        return np.delete(bank, slice(shot * rows, (shot + 1) * rows), axis=0)

    return dataclasses.replace(learned, banks=tuple(drop(bank) for bank in learned.banks))


def changed_copies(view: Array8) -> Array8:
    """Mild changes of a view uint8 [S,S,3], as between two good parts: light, sharpness, place and size."""
    image = Image.fromarray(view)
    size, part = image.width, 0.96 * image.width
    rest = size - part
    copies = [
        ImageEnhance.Brightness(image).enhance(0.92),
        ImageEnhance.Brightness(image).enhance(1.08),
        image.filter(ImageFilter.GaussianBlur(0.6)),
        image.filter(ImageFilter.UnsharpMask(1, 60, 0)),
        *(
            image.resize((size, size), Image.Resampling.BICUBIC, box=(x, y, x + part, y + part))
            for x, y in ((0, 0), (rest, 0), (0, rest), (rest, rest))
        ),
    ]
    return np.stack([np.asarray(copy) for copy in copies])


def calibrated(value: float, threshold: float, level: Level) -> float:
    """Raw score → [0,1]: monotone, 0.5 at the threshold, about 0.1 for a typical good part."""
    if value <= 0:
        return 0.0
    margin = max(math.log(threshold) - level.location, level.spread)
    return 1.0 / (1.0 + math.exp(min(math.log(9.0) / margin * (math.log(threshold) - math.log(value)), 700.0)))


def _image_level(scores: list[Scores], inflation: float) -> Level:
    return _level(np.concatenate([part.image for part in scores]) * inflation)


def _pixel_level(scores: list[Scores], inflation: float) -> Level:
    maxima = [anomaly_map(grid).max() for part in scores for grid in part.grid]
    return _level(np.asarray(maxima, np.float32) * inflation)


def _level(values: npt.NDArray[np.floating]) -> Level:
    """Location and spread of log scores; the spread is drawn towards its prior and widened for few shots."""
    logs = np.log(np.maximum(values.astype(np.float64), 1e-30))
    count = len(logs)
    around = float(((logs - logs.mean()) ** 2).sum())
    variance = (PRIOR_SHOTS * PRIOR_SPREAD**2 + around) / (PRIOR_SHOTS + count - 1)
    spread = math.sqrt(variance * (1.0 + 1.0 / count))
    return Level(tuple(float(value) for value in values), float(logs.mean()), spread)
