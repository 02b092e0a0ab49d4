"""Metrics of whole images: AUROC, average precision and the best F1."""

from __future__ import annotations

import numpy as np

from .curve import Curve, Flags, Scores, check_finite
from .values import MetricValues


def auroc(bad: Flags, scores: Scores) -> float:
    """Return the area under the ROC curve: how often a bad item scores above a good one; ties count half.

    bad and scores have the same shape. Raises ValueError for other shapes, for scores that are not finite, and unless
    there is at least one bad item and one good item.
    """
    return _curve(bad, scores).auroc()


IMAGE_METRICS = ("image_auroc", "image_aupr", "image_f1max")


def measure_images(bad: Flags, scores: Scores) -> MetricValues:
    """Return `image_auroc`, `image_aupr` (average precision) and `image_f1max` of images bad [N] with scores [N].

    They are NaN unless there are bad and good images. Raises ValueError for scores that are not finite, and for shapes
    that differ.
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
