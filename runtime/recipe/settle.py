"""Settling in: thresholds from parts of the line as they come, most of them good, and nobody has said which are not."""

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
"""Unlabelled parts that a threshold usually rests on."""
FEWEST_PARTS = 20
"""With fewer, a bad one among them counts too much."""
SETTLING_RATE = 0.05
"""Share of good parts that may be rejected, where settling is not told another."""

OUTLYING = 3.5
"""A log score this many spreads above the median is not taken for a good part's."""
UPPER_QUANTILE = 0.85
"""The spread is read off between the median and this quantile; good parts lie there if one part in ten is bad."""
SMALLEST_SPREAD = 0.01
"""The least spread of log scores. Only pictures that are all the same differ less."""

HISTOGRAM_BINS = 16


def settle(image: Floats, pixel: Floats, false_reject_rate: float) -> Calibration:
    """Calibrate on unlabelled parts.

    Args:
        image: Their raw image scores, [n].
        pixel: The maxima of their anomaly maps, [n].
        false_reject_rate: The share of good parts that may be rejected, above 0 and below 0.5.

    Returns:
        The location and spread of the good ones' scores, with the scores of all.

    Raises:
        SettingsError: There are fewer than FEWEST_PARTS parts.
    """
    check_parts(len(image))
    return Calibration(
        source="unlabelled parts",
        image=robust_level(image, false_reject_rate),
        pixel=robust_level(pixel, false_reject_rate),
    )


def check_parts(count: int) -> None:
    """Raise SettingsError where a threshold cannot rest on so few unlabelled parts."""
    if count < FEWEST_PARTS:
        raise SettingsError(
            f"{count} unlabelled parts: at least {FEWEST_PARTS} are needed to tell the few bad ones from the good, "
            f"{SETTLING_PARTS} are better"
        )


@dataclass(frozen=True, eq=False)
class Settlement:
    """A threshold that unlabelled parts propose, beside the one in use.

    calibration: of these parts; names: what people call them, in the order of its scores; rate: the share of good parts
    that may be rejected; today: the raw image score from which a part is rejected now.
    """

    calibration: Calibration
    names: Sequence[str]
    rate: float
    today: float

    @functools.cached_property
    def scores(self) -> Floats:
        """Raw image scores, float32 [n]."""
        return np.array(self.calibration.image.scores, np.float32)

    @property
    def threshold(self) -> float:
        """The proposed raw image score from which a part is rejected."""
        return self.calibration.image.threshold(self.rate)

    def rejected(self, threshold: float) -> int:
        """Return how many of the parts reach a threshold."""
        return int((self.scores >= threshold).sum())

    def beyond(self) -> list[int]:
        """Return the indices of the parts that reach the proposed threshold, highest score first."""
        return [int(index) for index in np.argsort(-self.scores, kind="stable") if self.scores[index] >= self.threshold]

    def histogram(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Return the edges [HISTOGRAM_BINS + 1], equal steps of the raw score's logarithm, and the counts between."""
        logs = _logs(self.scores)
        counts, edges = np.histogram(logs, HISTOGRAM_BINS, (logs.min(), max(logs.max(), logs.min() + 1e-3)))
        return np.exp(edges).astype(np.float32), counts


def robust_level(scores: npt.NDArray[np.floating], false_reject_rate: float) -> Level:
    """Return the level of good parts, for the scores [n] of parts of which a few are bad.

    Parts far above the others are left out, until none is. The threshold for the rate is then the quantile of the rest,
    whatever their distribution; the spread is the one by which Level gives that threshold.
    """
    good = _logs(scores)
    while True:
        middle = float(np.median(good))
        spread = (float(np.quantile(good, UPPER_QUANTILE)) - middle) / NormalDist().inv_cdf(UPPER_QUANTILE)
        is_near = good <= middle + OUTLYING * max(spread, SMALLEST_SPREAD)
        if is_near.all():
            break
        good = good[is_near]
    threshold = float(np.quantile(good, 1.0 - false_reject_rate, method="weibull"))  # of n scores the k-th at k/(n+1)
    spread = (threshold - middle) / NormalDist().inv_cdf(1.0 - false_reject_rate)
    return Level(tuple(float(score) for score in scores), middle, max(spread, SMALLEST_SPREAD))


def _logs(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return np.log(np.maximum(scores.astype(np.float64), SMALLEST_SCORE))
