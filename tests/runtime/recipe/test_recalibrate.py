from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from goodparts.runtime import Engine, Recipe
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.recipe.recalibrate import recalibrate
from goodparts.runtime.recipe.refit import encode_for


def test_with_nothing_new_a_threshold_set_by_hand_stays(engine_folder: Path, recipe: Recipe) -> None:
    by_hand = recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, image=0.25))
    encode = encode_for(Engine.open(engine_folder), by_hand)
    assert recalibrate(by_hand, encode, [], [], recipe.header.false_reject_rate).recipe is by_hand
    other_rate = recalibrate(by_hand, encode, [], [], 0.2).recipe.header
    assert other_rate.thresholds.image == pytest.approx(recipe.header.calibration.image.threshold(0.2))


def test_bad_photos_are_compared_and_change_nothing(engine_folder: Path, recipe: Recipe, photos: Path) -> None:
    encode = encode_for(Engine.open(engine_folder), recipe)
    rate = recipe.header.false_reject_rate
    recalibration = recalibrate(recipe, encode, [], [photos / "bad"], rate)
    assert recalibration.recipe is recipe
    assert recalibration.bad_photos is not None
    assert recalibration.bad_photos.good_scores == pytest.approx(recipe.header.calibration.image.scores)
    threshold = recipe.header.thresholds.image
    assert recalibration.bad_photos.missed == sum(score < threshold for score in recalibration.bad_photos.bad_scores)


def test_a_rate_out_of_range_and_a_shot_of_the_recipe_are_refused(
    engine_folder: Path, recipe: Recipe, photos: Path
) -> None:
    encode = encode_for(Engine.open(engine_folder), recipe)
    with pytest.raises(SettingsError, match="between 0 and 0.5"):
        recalibrate(recipe, encode, [], [], 0.5)
    with pytest.raises(SettingsError, match=r"1.png is the shot 1.png that the recipe was learned from"):
        recalibrate(recipe, encode, [photos / "good"], [], 0.01)
