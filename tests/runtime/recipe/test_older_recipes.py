"""Recipes made by earlier versions open and score as they did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from goodparts.runtime.core.preprocess import load_rgb
from goodparts.runtime.core.scoring import score
from goodparts.runtime.core.view import View
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.trainer.clip.backbone import Backbone

from tests.conftest import draw_part

DATA = Path(__file__).parents[2] / "data"


def test_older_recipes() -> None:
    """A good and a bad ring, through torch, against what was written down when the recipe was made.

    The demo's memory was taken after other blocks then.
    """
    demo = Backbone.open("demo", taps=(2, 4))
    recipe, expected = Recipe.open(DATA / "older_recipe.safetensors"), np.load(DATA / "older_recipe_scores.npz")
    frames = [load_rgb(draw_part(seed, defect=defect)) for seed, defect in ((5, False), (4, True))]
    views = np.concatenate([View().cut(frame, demo.encoder.image_size) for frame in frames])
    seen = score(demo.encode(views), recipe.learned())
    # Balanced scores are of order 1; torch sums in another order on another processor.
    np.testing.assert_allclose(seen.image, expected["image"], rtol=1e-4)
    np.testing.assert_allclose(seen.grid, expected["grid"], rtol=1e-4, atol=1e-5)
