"""Learning without torch: the same memory as the trainer's, and the engine's own prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from goodparts.runtime.core.view import View
from goodparts.runtime.detector import Detector
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.recipe.accept import Photo, preview
from goodparts.runtime.recipe.calibrate import FALSE_REJECT_RATE
from goodparts.runtime.recipe.product import Product
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.runtime.recipe.shots import Shots
from goodparts.runtime.recipe.teach import teach, teach_product


def test_a_taught_recipe_has_the_trainers_memory_and_can_accept_photos(
    engine_folder: Path, shots: Shots, recipe: Recipe, photos: Path
) -> None:
    engine = Engine.open(engine_folder)
    text = engine.read_text_features()
    taught = teach_product(engine, Product("ring", (), View(), shots))
    for bank, expected in zip(taught.banks, recipe.banks, strict=True):
        np.testing.assert_allclose(bank, expected, atol=2e-3)  # two steps of float16: engine and torch differ slightly
    np.testing.assert_allclose(taught.image_prompts, text.prototypes())
    assert (taught.header.method, taught.header.settings["part"]) == ("taught", text.part)
    assert taught.header.thresholds.image == taught.header.calibration.image.threshold(FALSE_REJECT_RATE)
    assert "torch" not in taught.header.versions
    assert taught.to_bytes() == teach(photos / "good", " ring ", engine=engine).to_bytes()

    detector = Detector(engine, taught)
    [bad] = (photos / "bad").iterdir()
    assert detector.predict(bad).verdict == "reject"
    change = preview(taught, engine, [Photo.read(bad)])
    assert change.photos[0].becomes == "good"
