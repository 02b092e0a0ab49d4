"""The settings of a source replace values of its recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.core.view import Box
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.line.inspection_settings import InspectionSettings
from goodparts.runtime.line.settings import SourceSettings
from goodparts.runtime.recipe.header import Thresholds

RECIPES = Thresholds(image=0.5, pixel=0.2, min_area=9)


@pytest.mark.parametrize(
    ("image", "pixel", "expected"),
    [
        (None, None, RECIPES),
        (2.0, None, Thresholds(image=1.0, pixel=0.4, min_area=9)),
        (None, 1.5, Thresholds(image=0.5, pixel=0.2 * 1.5, min_area=9)),
        (2.0, 1.5, Thresholds(image=1.0, pixel=0.2 * 1.5, min_area=9)),
    ],
)
def test_the_pixel_threshold_follows_the_image_threshold_unless_it_is_set(
    image: float | None, pixel: float | None, expected: Thresholds
) -> None:
    settings = InspectionSettings(Path("ring.safetensors"), threshold=image, pixel_threshold=pixel)
    assert settings.replace_in(RECIPES) == expected


def test_a_relative_recipe_outlasts_a_change_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = InspectionSettings.of(SourceSettings(name="left", address="camera", recipe="ring.safetensors"), None)
    assert settings.recipe == tmp_path / "ring.safetensors"


@pytest.mark.parametrize(("roi", "knows"), [(None, True), (Box(20, 20, 200, 200), False)])
def test_the_scene_is_watched_only_in_the_recipe_s_own_region(
    engine_folder: Path, recipe_file: Path, roi: Box | None, knows: bool
) -> None:
    detector = InspectionSettings(recipe_file, roi=roi).open_detector(Engine.open(engine_folder))
    assert (detector.predict(np.zeros((240, 320, 3), np.uint8)).scene is not None) == knows
