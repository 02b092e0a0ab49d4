from __future__ import annotations

import math

import numpy as np
import pytest
from goodparts.runtime.calibrate import Level, calibrate, calibrated, changed_copies, without
from goodparts.runtime.recipe import Recipe
from goodparts.runtime.scoring import Features, Learned, score
from goodparts.trainer.backbone import Backbone
from hypothesis import given
from hypothesis import strategies as st

LEVEL = Level((0.1,), math.log(0.1), 0.2)


def test_threshold_is_the_log_normal_quantile() -> None:
    assert LEVEL.threshold(0.5) == pytest.approx(0.1)
    assert LEVEL.threshold(0.01) == pytest.approx(0.1 * math.exp(2.326 * 0.2), rel=1e-3)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1e-9, 1))
def test_calibrated_is_monotone_and_one_half_at_the_threshold(one: float, other: float, threshold: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= calibrated(low, threshold, LEVEL) <= calibrated(high, threshold, LEVEL) <= 1
    assert calibrated(threshold, threshold, LEVEL) == pytest.approx(0.5)


def test_a_shot_is_scored_against_the_others_alone(recipe: Recipe, demo: Backbone) -> None:
    assert recipe.shots is not None
    learned, features = recipe.learned(), demo.encode(recipe.shots)
    seen = calibrate(learned, features, recipe.shots, demo.encode)
    rows = len(learned.banks[0]) // 3
    others = Learned(
        learned.image_prompts,
        learned.pixel_prompts,
        tuple(np.concatenate([bank[:rows], bank[2 * rows :]]) for bank in learned.banks),
        learned.temperature,
        learned.image_maximum,
    )
    assert seen.source == "leave-one-out"
    assert seen.image.scores[1] == pytest.approx(score(features[1:2], others).image[0])
    assert [len(bank) for bank in without(learned, 2, 3).banks] == [2 * rows, 2 * rows]


def test_a_single_shot_is_calibrated_on_changed_copies(recipe: Recipe, demo: Backbone) -> None:
    assert recipe.shots is not None
    one = recipe.shots[:1]
    features = demo.encode(one)
    learned = recipe.learned()
    bank = tuple(memory.reshape(-1, memory.shape[-1]) for memory in features.memory)
    learned = Learned(learned.image_prompts, learned.pixel_prompts, bank, learned.temperature, "grid")
    calls: list[int] = []

    def encode(views: np.ndarray) -> Features:
        calls.append(len(views))
        return demo.encode(views)

    seen = calibrate(learned, features, one, encode)
    assert seen.source == "copies"
    assert calls == [len(seen.image.scores)]
    assert min(seen.image.scores) > 0


def test_changed_copies_differ_mildly_from_the_photo(recipe: Recipe) -> None:
    assert recipe.shots is not None
    view = recipe.shots[0]
    for copy in changed_copies(view):
        assert copy.shape == view.shape
        assert 0 < np.abs(copy.astype(int) - view).mean() < 20
