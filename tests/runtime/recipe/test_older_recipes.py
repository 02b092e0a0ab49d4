"""Recipes made by earlier versions are refused with a message that tells what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from goodparts.runtime import RecipeError
from goodparts.runtime.recipe.recipe import Recipe

DATA = Path(__file__).parents[2] / "data"


def test_an_older_recipe_is_to_be_trained_again() -> None:
    with pytest.raises(RecipeError, match="has format version 1, this version reads 3 and 4: train it again$"):
        Recipe.open(DATA / "older_recipe.safetensors")
