"""Settling in sets a threshold from unlabelled parts. A few bad parts among them hardly change it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.recipe.header import Thresholds
from goodparts.runtime.recipe.settle import FEWEST_PARTS, Settlement, settle

RATE = 0.05


def draw_good(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw scores with the log spread of photos of real lines."""
    return np.exp(rng.normal(math.log(0.1), 0.15, count)).astype(np.float32)


@pytest.mark.parametrize("bad_count", [0, 2, 5, 10])
def test_the_rate_holds_for_further_good_parts_if_a_few_parts_are_bad(bad_count: int) -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(200):
        bad = 0.1 * np.exp(rng.uniform(0.4, 1.5, bad_count)).astype(np.float32)
        scores = rng.permutation(np.concatenate([draw_good(rng, 100 - bad_count), bad]))
        threshold = settle(scores, scores, RATE).image.threshold(RATE)
        rates.append((draw_good(rng, 500) >= threshold).mean())
    assert abs(np.mean(rates) - RATE) < 0.02  # docs/accuracy.md: 3.8 to 5.3 % on average
    assert (np.abs(np.array(rates) - RATE) < 0.06).mean() >= 0.9  # within 6 points in nine of ten runs


def test_bad_parts_far_above_do_not_move_the_threshold() -> None:
    good = draw_good(np.random.default_rng(1), 95)
    far, farther = (settle(np.r_[good, np.full(5, score, np.float32)], good, RATE).image for score in (0.5, 50.0))
    assert far.threshold(RATE) == pytest.approx(farther.threshold(RATE))


def test_pictures_that_are_all_the_same_give_a_threshold_just_above_them() -> None:
    same = np.full(FEWEST_PARTS, 0.1, np.float32)
    assert 0.1 < settle(same, same, RATE).image.threshold(RATE) < 0.103


def test_too_few_parts_are_refused() -> None:
    few = np.full(FEWEST_PARTS - 1, 0.1, np.float32)
    with pytest.raises(SettingsError, match="19 unlabelled parts: at least 20 are needed"):
        settle(few, few, RATE)


def test_the_histogram_counts_every_part_and_the_parts_beyond_are_named_highest_first() -> None:
    scores = np.r_[draw_good(np.random.default_rng(2), 98), 0.4, 0.9].astype(np.float32)
    settlement = Settlement(settle(scores, scores, RATE), [f"{number}.png" for number in range(100)], RATE, 0.2)
    edges, counts = settlement.histogram()
    assert counts.sum() == 100
    assert (edges[0], edges[-1]) == (pytest.approx(scores.min()), pytest.approx(scores.max()))
    assert [settlement.names[index] for index in settlement.beyond()[:2]] == ["99.png", "98.png"]
    assert settlement.rejected(settlement.threshold) == len(settlement.beyond())


def test_parts_on_the_threshold_are_counted_as_their_verdict_is() -> None:
    """Where the quantile falls on a part, rounding decides, and must decide everywhere alike."""
    on_it = 0
    for count in range(20, 120):
        scores = draw_good(np.random.default_rng(count), count)
        settlement = Settlement(settle(scores, scores, RATE), [""] * count, RATE, 0.2)
        thresholds = Thresholds(image=settlement.threshold, pixel=1.0)
        rejected = [index for index, score in enumerate(scores.tolist()) if thresholds.verdict(score) == "reject"]
        assert sorted(settlement.beyond()) == rejected
        assert settlement.rejected(settlement.threshold) == len(rejected)
        on_it += np.isclose(scores, settlement.threshold, rtol=1e-7).any()
    assert on_it >= 3
