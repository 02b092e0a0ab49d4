"""Metrics of one curve over all thresholds: AUROC, average precision, the best F1, and per-region overlap.

All of them are exact. Their values change only at the scores of bad items, because only good items lie between two such
scores. A curve is therefore kept only at the distinct scores of bad items, which are a few percent of all pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Gains = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """Counts at each of the n distinct scores of bad items, the highest score first.

    There is at least one bad item and one good item.

    Attributes:
        bad: The number of bad items with the score, int64 [n].
        ties: The number of good items with the score, int64 [n].
        above: The number of good items above the score, int64 [n].
        goods: The number of all good items.
    """

    bad: Counts
    ties: Counts
    above: Counts
    goods: int

    @classmethod
    def between(cls, bad: Scores, good: Scores) -> Curve:
        """Return the curve of the scores of bad and of good items, which have the same floating type.

        Args:
            bad: The scores of bad items [B], at least one.
            good: The scores of good items [G], at least one.
        """
        distinct, counts = np.unique(bad, return_counts=True)
        ordered = np.sort(good)
        upto = np.searchsorted(ordered, distinct, "right")
        ties = upto - np.searchsorted(ordered, distinct, "left")
        return cls(counts[::-1], ties[::-1], (ordered.size - upto)[::-1], ordered.size)

    def auroc(self) -> float:
        """Return the area under the ROC curve, 0 to 1: how often a bad item scores above a good one.

        Ties count half.
        """
        below = self.goods - self.above - self.ties
        return float(self.bad @ (below + self.ties / 2) / (float(self.bad.sum()) * self.goods))

    def average_precision(self) -> float:
        """Return the area under precision over recall as a sum of steps, without interpolation, 0 to 1.

        It is the mean, over bad items, of the precision at their scores.
        """
        caught = self.bad.cumsum()
        return float(self.bad @ (caught / (caught + self.above + self.ties)) / caught[-1])

    def best_f1(self) -> float:
        """Return the highest F1 of all thresholds, 0 to 1."""
        caught = self.bad.cumsum()
        return float((2 * caught / (caught + self.above + self.ties + caught[-1])).max())

    def overlap(self, gains: Gains, limit: float) -> float:
        """Return the area under overlap over false-positive rate, up to the largest rate, divided by this rate.

        Points are joined by straight lines, because bad and good items with the same score are rejected together. The
        line that crosses the largest rate is cut there. Each gain lifts the curve from its own rate up to the largest
        rate: its area is the gain times the mean width between both rates.

        Args:
            gains: The increase of the overlap at each score, the highest score first, [n], 0 to 1.
            limit: The largest false-positive rate, above 0 and up to 1.
        """
        left = np.clip(limit - self.above / self.goods, 0, None)
        right = np.clip(limit - (self.above + self.ties) / self.goods, 0, None)
        inside = np.divide((left - right) * self.goods, self.ties, out=np.ones_like(left), where=self.ties > 0)
        return float(gains @ ((left + right) / 2 * inside) / limit)


def check_finite(scores: Scores) -> None:
    """Check that scores can be ordered.

    Args:
        scores: The scores, of any shape.

    Raises:
        ValueError: A score is NaN or infinite.
    """
    if not np.isfinite(scores).all():
        wrong = int(scores.size - np.count_nonzero(np.isfinite(scores)))
        raise ValueError(f"{wrong} of {scores.size} scores are NaN or infinite: only finite scores can be compared")
