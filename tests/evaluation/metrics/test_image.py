"""Metrics of images against their slow definitions, scikit-learn, and values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from goodparts.evaluation.metrics.image import auroc, measure_images
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

LABELLED = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30)
"""Few values, so that most are tied."""


def split(pairs: list[tuple[bool, int]]) -> tuple[list[int], list[int]]:
    bad, good = ([score for is_bad, score in pairs if is_bad == kind] for kind in (True, False))
    return bad, good


def arrays(pairs: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([pair[0] for pair in pairs]), np.array([float(pair[1]) for pair in pairs])


@settings(deadline=None)
@given(LABELLED)
def test_auroc_is_the_share_of_pairs_in_order(pairs: list[tuple[bool, int]]) -> None:
    bad, good = split(pairs)
    labels, scores = arrays(pairs)
    if not bad or not good:
        with pytest.raises(ValueError, match="needs both kinds"):
            auroc(labels, scores)
        return
    ordered = sum((one > other) + 0.5 * (one == other) for one in bad for other in good)
    assert auroc(labels, scores) == pytest.approx(ordered / (len(bad) * len(good)))


@settings(deadline=None)
@given(LABELLED)
def test_images_at_every_threshold(pairs: list[tuple[bool, int]]) -> None:
    bad, good = split(pairs)
    found = measure_images(*arrays(pairs))
    if not bad or not good:
        assert all(math.isnan(value) for value in found.values.values())
        assert set(found.missing) == set(found.values)
        return
    precision_sum, best = 0.0, 0.0
    for threshold in sorted({*bad, *good}):
        caught, false = (sum(score >= threshold for score in kind) for kind in (bad, good))
        precision_sum += sum(score == threshold for score in bad) * caught / max(1, caught + false)
        best = max(best, 2 * caught / (2 * caught + false + len(bad) - caught))
    assert found.values["image_aupr"] == pytest.approx(precision_sum / len(bad))
    assert found.values["image_f1max"] == pytest.approx(best)
    assert not found.missing


@pytest.mark.parametrize("levels", [3, 50, 10**6])
def test_as_scikit_learn(levels: int) -> None:
    rng = np.random.default_rng(levels)
    bad = rng.random(2000) < 0.2
    scores = (rng.integers(0, levels, 2000) + bad * (levels // 4)).astype(np.float32)
    found = measure_images(bad, scores).values
    assert found["image_auroc"] == pytest.approx(roc_auc_score(bad, scores), abs=1e-9)
    assert found["image_aupr"] == pytest.approx(average_precision_score(bad, scores), abs=1e-9)


def test_by_hand() -> None:
    bad = np.array([True, False, True, False])
    # Sorted: bad 0.9, good 0.8, bad 0.7, good 0.1. Three of four pairs are in order; precision at bad ones: 1 and 2/3.
    found = measure_images(bad, np.array([0.9, 0.8, 0.7, 0.1])).values
    assert found == pytest.approx({"image_auroc": 3 / 4, "image_aupr": 5 / 6, "image_f1max": 4 / 5})
    tied = measure_images(bad, np.zeros(4)).values
    assert tied == pytest.approx({"image_auroc": 0.5, "image_aupr": 0.5, "image_f1max": 2 / 3})
    perfect = measure_images(bad, bad.astype(np.float32)).values
    assert perfect == pytest.approx({"image_auroc": 1.0, "image_aupr": 1.0, "image_f1max": 1.0})


def test_a_single_kind_gives_a_reason() -> None:
    found = measure_images(np.zeros(3, np.bool_), np.arange(3.0))
    assert found.missing["image_auroc"] == "both kinds are needed: all 3 images are good"
    assert math.isnan(found.values["image_f1max"])
    assert (found | measure_images(np.array([True, False]), np.array([1.0, 0.0]))).values["image_auroc"] == 1.0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_scores_that_have_no_order(wrong: float) -> None:
    with pytest.raises(ValueError, match="1 of 3 scores are NaN or infinite"):
        measure_images(np.array([True, False, True]), np.array([0.0, wrong, 1.0]))
    with pytest.raises(ValueError, match=r"shape \(2,\) and scores \(3,\)"):
        measure_images(np.array([True, False]), np.zeros(3))
