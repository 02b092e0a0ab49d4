from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest
from goodparts.runtime import RecipeError
from goodparts.runtime.recipe.memory import coreset, fit_memory
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.runtime.recipe.refit import refit
from goodparts.trainer.clip.backbone import Backbone
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(1, 5), st.integers(1, 20), st.floats(0.01, 1.0), st.integers(0, 2**32 - 1))
def test_a_coreset_keeps_its_share_and_a_row_of_every_photo(
    photos: int, per_photo: int, share: float, seed: int
) -> None:
    rows = np.random.default_rng(seed).standard_normal((photos * per_photo, 6)).astype(np.float32)
    keep = int(np.ceil(share * len(rows)))
    kept = coreset(rows, keep, per_photo)
    assert len(kept) == max(keep, photos)
    assert (np.diff(kept) > 0).all()
    assert set(kept // per_photo) == set(range(photos))


def test_a_coreset_leaves_no_row_far_away() -> None:
    """Ten tight clusters are covered by ten rows, where a random choice would miss some."""
    rng = np.random.default_rng(0)
    centres = 10.0 * rng.standard_normal((10, 300))
    rows = (np.repeat(centres, 50, axis=0) + 0.01 * rng.standard_normal((500, 300))).astype(np.float32)
    assert set(coreset(rows, 10, 500) // 50) == set(range(10))


def test_duplicates_are_kept_last() -> None:
    rows = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)
    assert set(coreset(rows, 4, 12) // 3) == {0, 1, 2, 3}


def test_a_recipe_may_hold_a_share_of_its_memory(recipe: Recipe, small: Backbone) -> None:
    assert recipe.shots is not None
    features = small.encode(recipe.shots)
    memory = fit_memory(recipe.learned(), features, recipe.shots, 1, small.encode, share=0.25)
    header = msgspec.structs.replace(recipe.header, memory_share=0.25, shot_calibration=memory.calibration)
    smaller = dataclasses.replace(
        recipe, header=header, banks=memory.banks, shot_of_row=memory.shot_of_row, margins=memory.margins
    )
    again = Recipe.from_bytes(smaller.to_bytes())
    patches = small.encoder.grid[0] * small.encoder.grid[1]
    assert [len(bank) for bank in again.banks] == [round(0.25 * 3 * patches)] * 2
    # Fewer rows are farther away, so good parts score higher and the calibration is higher too.
    assert memory.calibration.image.location > recipe.header.shot_calibration.image.location
    refitted = refit(again, small.encode, "another graph")
    for one, other in zip(refitted.banks + refitted.margins, again.banks + again.margins, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_remembered_row_has_the_margin_of_its_patch(recipe: Recipe, small: Backbone) -> None:
    assert recipe.shots is not None
    features = small.encode(recipe.shots)
    memory = fit_memory(recipe.learned(), features, recipe.shots, 1, small.encode, share=0.25)
    of_patches = (features.local @ (recipe.pixel_prompts[1] - recipe.pixel_prompts[0])).ravel()
    for taps, bank, margins in zip(features.memory, memory.banks, memory.margins, strict=True):
        patches = taps.reshape(-1, bank.shape[1]).astype(np.float16)
        for row, margin in zip(bank[::7], margins[::7], strict=True):
            assert margin in of_patches[(patches == row).all(axis=1)]


def test_rows_of_photos_that_the_recipe_lacks_are_refused(recipe: Recipe) -> None:
    wrong = dataclasses.replace(recipe, shot_of_row=tuple(shots + 1 for shots in recipe.shot_of_row))
    with pytest.raises(RecipeError, match="photos_0 names photos that the recipe lacks"):
        Recipe.from_bytes(wrong.to_bytes())
