"""Metrics of whole images: AUROC, average precision and the best F1."""

from __future__ import annotations

import numpy as np

from .curve import Curve, Flags, Scores, check_finite
from .values import MetricValues


def auroc(bad: Flags, scores: Scores) -> float:
    """Return the area under the ROC curve: how often a bad item scores above a good one; ties count half.

    Args:
        bad: Which items are bad, bool, in any shape; at least one is bad and one is good.
        scores: The items' scores, in the same shape.

    Raises:
        ValueError: The shapes differ, a score is not finite, or all items are of one kind.
    """
    return _curve(bad, scores).auroc()


IMAGE_METRICS = ("image_auroc", "image_aupr", "image_f1max")
"""The names of the image metrics in reports."""


def measure_images(bad: Flags, scores: Scores) -> MetricValues:
    """Return `image_auroc`, `image_aupr` (average precision) and `image_f1max` of images.

    They are NaN unless there are bad and good images.

    Args:
        bad: Which images are bad, bool [N].
        scores: The images' scores [N].

    Raises:
        ValueError: The shapes differ, or a score is not finite.
    """
    _check(bad, scores)
    positives = int(np.count_nonzero(bad))
    if positives in (0, bad.size):
        kind = "good" if positives == 0 else "bad"
        return MetricValues.without(IMAGE_METRICS, f"both kinds are needed: all {bad.size} images are {kind}")
    curve = _curve(bad, scores)
    return MetricValues(
        dict(zip(IMAGE_METRICS, (curve.auroc(), curve.average_precision(), curve.best_f1()), strict=True))
    )


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
