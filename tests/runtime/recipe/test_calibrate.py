from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scoring import Features, Fusion, Learned, score
from goodparts.runtime.recipe.calibrate import (
    COPY_SPREAD,
    Calibration,
    Level,
    Separation,
    calibrate,
    calibrate_on,
    photo_scores,
    score_photos,
    score_shots,
    separate,
    shifted_copies,
)
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.trainer.clip.backbone import Backbone

LEVEL = Level((0.1,), math.log(0.1), 0.2)


def test_threshold_is_the_log_normal_quantile() -> None:
    assert LEVEL.threshold(0.5) == pytest.approx(0.1)
    assert LEVEL.threshold(0.01) == pytest.approx(0.1 * math.exp(2.326 * 0.2), rel=1e-3)


@pytest.mark.parametrize("fusion", ["paper", "residual"])
def test_a_shot_is_scored_against_the_other_shots_only(recipe: Recipe, small: Backbone, fusion: Fusion) -> None:
    assert recipe.shots is not None
    learned, features = dataclasses.replace(recipe.learned(), fusion=fusion), small.encode(recipe.shots)
    seen = calibrate(score_shots(learned, features, recipe.shots, 1, small.encode), learned, copies=False)
    rows = len(learned.banks[0]) // 3

    def all_but_the_second(rows_of_all: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.concatenate([rows_of_all[:rows], rows_of_all[2 * rows :]])

    others = dataclasses.replace(
        learned,
        banks=tuple(map(all_but_the_second, learned.banks)),
        margins=tuple(map(all_but_the_second, learned.margins)),
    )
    assert seen.source == "leave-one-out"
    assert seen.image.scores[1] == pytest.approx(score(features[1:2], others).image[0])


def test_a_single_shot_is_calibrated_on_shifted_copies(recipe: Recipe, small: Backbone) -> None:
    assert recipe.shots is not None
    one = recipe.shots[:1]
    features = small.encode(one)
    learned = recipe.learned()
    bank = tuple(memory.reshape(-1, memory.shape[-1]) for memory in features.memory)
    learned = Learned(learned.image_prompts, learned.pixel_prompts, bank, learned.temperature, "grid")
    calls: list[int] = []

    def encode(views: np.ndarray) -> Features:
        calls.append(len(views))
        return small.encode(views)

    seen = calibrate(score_shots(learned, features, one, 1, encode), learned, copies=True)
    assert seen.source == "copies"
    assert calls == [1] * len(seen.image.scores)
    assert min(seen.image.scores) > 0
    assert seen.image.spread == COPY_SPREAD


def test_shifted_copies_differ_mildly_from_the_photo(recipe: Recipe) -> None:
    assert recipe.shots is not None
    views = recipe.shots[:2]
    for copy in shifted_copies(views):
        assert copy.shape == views.shape
        assert 0 < np.abs(copy.astype(int) - views).mean() < 20


def test_tiles_of_a_photo_leave_the_memory_together(recipe: Recipe, small: Backbone) -> None:
    """The four views are two photos of two tiles."""
    assert recipe.shots is not None
    views = recipe.shots[[0, 1, 2, 0]]
    features = small.encode(views)
    bank = tuple(memory.reshape(-1, memory.shape[-1]) for memory in features.memory)
    photos = (np.repeat(np.arange(2, dtype=np.int32), len(bank[0]) // 2),) * 2
    learned = dataclasses.replace(recipe.learned(), banks=bank, shot_of_row=photos, margins=())
    seen = calibrate(score_shots(learned, features, views, 2, small.encode), learned, copies=False)
    half = dataclasses.replace(learned, banks=tuple(rows[len(rows) // 2 :] for rows in bank))
    expected = score(features[:2], half)
    assert len(seen.image.scores) == 2
    assert seen.image.scores[0] == pytest.approx(expected.image.max())


def test_further_photos_are_scored_against_the_whole_memory(recipe: Recipe, small: Backbone) -> None:
    assert recipe.shots is not None
    learned = recipe.learned()
    photos = [recipe.shots[[index % 3]] for index in range(20)]
    seen = calibrate_on(learned, photos, small.encode)
    image, pixel = photo_scores(score_photos(learned, photos, small.encode))
    assert seen.source == "further photos"
    np.testing.assert_allclose(seen.image.scores, image)
    np.testing.assert_allclose(seen.pixel.scores, pixel)
    # A photo that is in the memory scores next to nothing.
    assert max(seen.image.scores) < 0.1 * min(recipe.header.calibration.image.scores)


@pytest.mark.parametrize(("rate", "missing"), [(0.01, 96), (0.05, 16), (0.25, 0), (0.26, 0)])
def test_the_photos_missing_to_verify_a_rate_are_counted(recipe: Recipe, rate: float, missing: int) -> None:
    assert recipe.header.calibration.photos_missing(rate) == missing  # 3 photos verify 1/4, 99 verify 1/100


def test_copies_of_a_photo_count_as_one(recipe: Recipe) -> None:
    level = recipe.header.calibration.image
    assert Calibration(source="copies", image=level, pixel=level).photos_missing(0.05) == 18


def test_proposed_threshold_lies_between_good_and_bad() -> None:
    good, bad = np.array([0.1, 0.2], np.float32), np.array([0.8, 0.9], np.float32)
    seen = separate(good, bad, 0.9)
    assert (seen.threshold, seen.rejected, seen.missed) == (pytest.approx(0.4), 0, 0)
    mixed = separate(np.array([0.1, 0.2, 0.85], np.float32), bad, 0.9)
    assert (mixed.threshold, mixed.rejected, mixed.missed) == (pytest.approx(0.4), 1, 0)
    hopeless = separate(bad, good, 0.5)
    assert hopeless.rejected + hopeless.missed == 2
    with pytest.raises(SettingsError, match="at least one of each"):
        separate(good, bad[:0], 0.5)


def test_a_threshold_that_already_separates_good_and_bad_is_proposed_again() -> None:
    good, bad = np.array([0.1, 0.2], np.float32), np.array([0.8, 0.9], np.float32)
    assert separate(good, bad, 0.25) == Separation(pytest.approx(0.25), 0, 0)
