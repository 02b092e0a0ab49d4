"""Settling in: setting thresholds from unsorted parts of the line. Most of these parts are good."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ..core.errors import SettingsError
from ..core.scoring import SMALLEST_SCORE, Floats
from .calibrate import Calibration, Level

SETTLING_PARTS = 100
"""The number of unlabelled parts that a threshold usually rests on."""
FEWEST_PARTS = 20
"""The least number of unlabelled parts. With fewer, one bad part among them counts too much."""
SETTLING_RATE = 0.05
"""The default share of good parts that may be rejected."""

OUTLYING = 3.5
"""A part whose log score is this many spreads above the median is not taken for a good part."""
UPPER_QUANTILE = 0.85
"""The spread is measured between the median and this quantile; even if one part in ten is bad, good parts lie there."""
SMALLEST_SPREAD = 0.01
"""The least spread of log scores. Only equal pictures differ less."""

HISTOGRAM_BINS = 16
"""The number of bins of Settlement.histogram."""


def settle(image: Floats, pixel: Floats, false_reject_rate: float) -> Calibration:
    """Calibrate on unlabelled parts.

    Args:
        image: The parts' raw image scores, [n].
        pixel: The maxima of their anomaly maps, [n].
        false_reject_rate: The share of good parts that may be rejected, above 0 and below 0.5.

    Returns:
        The location and spread of the good parts' scores, and the scores of all parts.

    Raises:
        SettingsError: There are fewer than FEWEST_PARTS parts.
    """
    check_parts(len(image))
    return Calibration(
        source="unlabelled parts",
        image=robust_level(image, false_reject_rate),
        pixel=robust_level(pixel, false_reject_rate),
    )


def check_parts(count: int, left_out: int = 0) -> None:
    """Check that there are enough unlabelled parts for a threshold to rest on.

    Args:
        count: The number of unlabelled parts.
        left_out: The number of given photos that do not count, because they are the recipe's own shots.

    Raises:
        SettingsError: There are fewer than FEWEST_PARTS.
    """
    if count < FEWEST_PARTS:
        shots = f" (left out: {left_out} of the recipe's own shots)" if left_out else ""
        raise SettingsError(
            f"{count} unlabelled parts{shots}: at least {FEWEST_PARTS} are needed to tell the few bad ones from the "
            f"good, {SETTLING_PARTS} are better"
        )


@dataclass(frozen=True, eq=False)
class Settlement:
    """A threshold that unlabelled parts propose, beside the one in use.

    Attributes:
        calibration: The calibration on these parts.
        names: The names of the parts, in the order of the calibration's scores.
        rate: The share of good parts that may be rejected.
        today: The raw image score at which a part is rejected now.
    """

    calibration: Calibration
    names: Sequence[str]
    rate: float
    today: float

    @functools.cached_property
    def scores(self) -> npt.NDArray[np.float64]:
        """The raw image scores of the parts, [n], float64: a threshold may fall on one, as verdicts compare them."""
        return np.array(self.calibration.image.scores, np.float64)

    @property
    def threshold(self) -> float:
        """The proposed raw image score at which a part is rejected."""
        return self.calibration.image.threshold(self.rate)

    def rejected(self, threshold: float) -> int:
        """Return how many of the parts reach a threshold.

        Args:
            threshold: A raw image score.
        """
        return int((self.scores >= threshold).sum())

    def beyond(self) -> list[int]:
        """Return the indices of the parts that reach the proposed threshold, highest score first."""
        return [int(index) for index in np.argsort(-self.scores, kind="stable") if self.scores[index] >= self.threshold]

    def histogram(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Return a histogram of the scores: edges at equal steps of their logarithm, and counts.

        The edges are raw image scores, [HISTOGRAM_BINS + 1]; the counts are [HISTOGRAM_BINS].
        """
        logs = _logs(self.scores)
        counts, edges = np.histogram(logs, HISTOGRAM_BINS, (logs.min(), max(logs.max(), logs.min() + 1e-3)))
        return np.exp(edges).astype(np.float32), counts


def robust_level(scores: npt.NDArray[np.floating], false_reject_rate: float) -> Level:
    """Return the level of the good parts among unsorted parts, a few of them bad.

    Parts far above the others are left out repeatedly, until no part is far above the others. The threshold for the
    rate is then the quantile of the rest, for any distribution. The spread is the one with which Level.threshold gives
    that threshold.

    Args:
        scores: The raw scores of all parts, [n].
        false_reject_rate: The share of good parts that may be rejected, above 0 and below 0.5.
    """
    good = _logs(scores)
    while True:
        middle = float(np.median(good))
        spread = (float(np.quantile(good, UPPER_QUANTILE)) - middle) / NormalDist().inv_cdf(UPPER_QUANTILE)
        is_near = good <= middle + OUTLYING * max(spread, SMALLEST_SPREAD)
        if is_near.all():
            break
        good = good[is_near]
    threshold = float(np.quantile(good, 1.0 - false_reject_rate, method="weibull"))  # the k-th of n scores: k/(n+1)
    spread = (threshold - middle) / NormalDist().inv_cdf(1.0 - false_reject_rate)
    return Level(tuple(float(score) for score in scores), middle, max(spread, SMALLEST_SPREAD))


def _logs(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return np.log(np.maximum(scores.astype(np.float64), SMALLEST_SCORE))
