"""What one threshold after another lets through: AUROC, average precision, the best F1, and per-region overlap.

All of them are exact. They change their value only at the scores of bad ones; what lies between two of those adds
nothing but good ones. So a curve is kept at the distinct scores of the bad alone, a few percent of all pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.int64]
Real = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """Metrics by their names in reports; one that has no value is NaN, and `missing` says why."""

    values: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def __or__(self, other: Measured) -> Measured:
        return Measured(self.values | other.values, self.missing | other.missing)


def not_measured(names: tuple[str, ...], reason: str) -> Measured:
    """NaN for all of `names`, for one reason."""
    return Measured(dict.fromkeys(names, float("nan")), dict.fromkeys(names, reason))


@dataclass(frozen=True, eq=False)
class Curve:
    """At each of the n distinct scores of bad ones, the highest first, int64 [n]: how many bad ones have it (`bad`),
    how many good ones have it (`ties`), how many good ones lie above it (`above`); and how many are good at all.

    At least one bad and one good one.
    """

    bad: Whole
    ties: Whole
    above: Whole
    goods: int

    @classmethod
    def between(cls, bad: Scores, good: Scores) -> Curve:
        """Of the scores of bad ones [B] and good ones [G], B and G at least 1, in one floating type."""
        distinct, counts = np.unique(bad, return_counts=True)
        ordered = np.sort(good)
        upto = np.searchsorted(ordered, distinct, "right")
        ties = upto - np.searchsorted(ordered, distinct, "left")
        return cls(counts[::-1], ties[::-1], (ordered.size - upto)[::-1], ordered.size)

    def auroc(self) -> float:
        """Area under the ROC curve: how often a bad one scores above a good one, ties counting half."""
        below = self.goods - self.above - self.ties
        return float(self.bad @ (below + self.ties / 2) / (float(self.bad.sum()) * self.goods))

    def average_precision(self) -> float:
        """Area under precision over recall as a sum of steps, without interpolation: the mean, over bad ones, of the
        precision at their scores."""
        caught = self.bad.cumsum()
        return float(self.bad @ (caught / (caught + self.above + self.ties)) / caught[-1])

    def best_f1(self) -> float:
        """The highest F1 that any threshold reaches."""
        caught = self.bad.cumsum()
        return float((2 * caught / (caught + self.above + self.ties + caught[-1])).max())

    def overlap(self, gains: Real, limit: float) -> float:
        """Area under overlap over false-positive rate, up to the rate `limit` in (0,1], divided by `limit`.

        gains [n]: by how much the overlap, in [0,1], grows at each score. Points are joined by straight lines, as
        bad and good ones of one score come together; the line that crosses the limit is cut there.

        Each gain lifts the curve from where it is made to the limit: its area is gain × the mean width that is left.
        """
        left = np.clip(limit - self.above / self.goods, 0, None)
        right = np.clip(limit - (self.above + self.ties) / self.goods, 0, None)
        inside = np.divide((left - right) * self.goods, self.ties, out=np.ones_like(left), where=self.ties > 0)
        return float(gains @ ((left + right) / 2 * inside) / limit)


def auroc(bad: Flags, scores: Scores) -> float:
    """Area under the ROC curve: how often a bad one scores above a good one, ties counting half.

    bad and scores of one shape, finite, at least one of each kind; ValueError otherwise.
    """
    return _curve(bad, scores).auroc()


IMAGE_METRICS = ("image_auroc", "image_aupr", "image_f1max")


def measure_images(bad: Flags, scores: Scores) -> Measured:
    """`image_auroc`, `image_aupr` (average precision) and `image_f1max` of bad [N] and their scores [N].

    NaN where there is only one kind. ValueError for scores that are not finite and shapes that differ.
    """
    _check(bad, scores)
    positives = int(np.count_nonzero(bad))
    if positives in (0, bad.size):
        kind = "good" if positives == 0 else "bad"
        return not_measured(IMAGE_METRICS, f"both kinds are needed: all {bad.size} images are {kind}")
    curve = _curve(bad, scores)
    return Measured(dict(zip(IMAGE_METRICS, (curve.auroc(), curve.average_precision(), curve.best_f1()), strict=True)))


def check_finite(scores: Scores) -> None:
    """ValueError where a score is NaN or infinite: it has no place in an order."""
    if not np.isfinite(scores).all():
        wrong = int(scores.size - np.count_nonzero(np.isfinite(scores)))
        raise ValueError(f"{wrong} of {scores.size} scores are NaN or infinite: only finite ones can be compared")


def _check(bad: Flags, scores: Scores) -> None:
    if bad.shape != scores.shape:
        raise ValueError(f"labels have shape {bad.shape} and scores {scores.shape}: one label for each score is needed")
    check_finite(scores)


def _curve(bad: Flags, scores: Scores) -> Curve:
    _check(bad, scores)
    positives = int(np.count_nonzero(bad))
    if positives in (0, bad.size):
        raise ValueError(f"AUROC needs both kinds: {positives} bad and {bad.size - positives} good were given")
    return Curve.between(scores[bad], scores[~bad])
