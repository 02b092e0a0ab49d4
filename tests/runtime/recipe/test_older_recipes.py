"""A recipe that an earlier version made."""

from __future__ import annotations

from pathlib import Path

import pytest
from goodparts.runtime.core.errors import RecipeError
from goodparts.runtime.recipe.recipe import Recipe


def test_a_recipe_of_the_backbone_demo_names_what_replaced_it() -> None:
    older = Path(__file__).parents[2] / "data" / "older_recipe.safetensors"
    with pytest.raises(RecipeError, match=r"backbone demo, which small replaced: learn .* with `train-and-export`$"):
        Recipe.open(older)
