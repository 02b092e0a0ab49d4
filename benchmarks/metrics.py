"""How well scores tell bad from good."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def auroc(bad: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> float:
    """Area under the ROC curve: how often a bad one scores above a good one, ties counting half.

    bad and scores of one shape, at least one of each kind; by ranks (Mann-Whitney U).
    """
    flat, values = bad.ravel(), scores.ravel()
    positives = int(flat.sum())
    negatives = flat.size - positives
    if not positives or not negatives:
        raise ValueError(f"AUROC needs both kinds: {positives} bad and {negatives} good were given")
    distinct, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    del distinct
    rank = np.cumsum(counts) - (counts - 1) / 2.0  # the mean rank of equal values, from 1
    return float((rank[place][flat].sum() - positives * (positives + 1) / 2) / (positives * negatives))
