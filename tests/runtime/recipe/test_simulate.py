from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime.core.errors import RecipeError
from goodparts.runtime.core.view import View
from goodparts.runtime.recipe.calibrate import Level
from goodparts.runtime.recipe.header import Shot
from goodparts.runtime.recipe.product import Product
from goodparts.runtime.recipe.shots import Shots
from goodparts.runtime.recipe.simulate import SIMULATED, exceeding, place, simulate
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.method import learn_recipe
from goodparts.trainer.promptad.method import PromptAD


def test_a_threshold_lies_between_good_parts_and_painted_defects() -> None:
    backbone = Backbone.open("small")
    size = backbone.encoder.image_size
    shots = np.stack([DrawnProduct("gear", 1).photo(number, size=(size, size)).image for number in range(3)])
    manifest = [Shot(f"{number}.png", "0" * 64) for number in range(3)]
    product = Product("gear", ("damaged {}",), View(), Shots(manifest, {size: shots}))
    recipe = learn_recipe(PromptAD.configure("clean", {"steps": 1}), backbone, product, "0" * 64)
    found = simulate(recipe, backbone.encode)
    assert len(found.bad) == SIMULATED // 3 * 3
    assert found.missed == (found.bad < found.thresholds.image).sum()
    assert 0.0 < found.rejected < 1.0
    assert found.thresholds == simulate(recipe, backbone.encode).thresholds
    with pytest.raises(RecipeError, match="train without --no-shots"):
        simulate(dataclasses.replace(recipe, shots=None), backbone.encode)


def test_the_threshold_errs_least_where_good_and_bad_overlap() -> None:
    good = Level((1.0,), 0.0, 0.5)  # half of good parts score above 1
    assert place(good, np.full(9, 20.0, np.float32)) == pytest.approx(20.0, rel=1e-5)
    far_and_faint = np.array([1.0] + [20.0] * 9, np.float32)
    assert place(good, far_and_faint) == pytest.approx(
        20.0, rel=1e-5
    )  # one faint defect is not worth half of the good parts
    rising = np.geomspace(1.0, 20.0, 50).astype(np.float32)
    tried = np.geomspace(1.0, 20.0, 400)
    errors = [(rising < t).mean() + exceeding(good, np.log(t)) for t in tried]
    found = place(good, rising)
    assert (rising < found).mean() + exceeding(good, np.log(found)) <= min(errors) + 1e-6
