from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import msgspec
import numpy as np
import pytest
from goodparts.runtime import RecipeError
from goodparts.runtime.engine import read_spec
from goodparts.runtime.preprocess import load_rgb
from goodparts.runtime.recipe import Recipe
from goodparts.runtime.scoring import score
from goodparts.runtime.view import Box, View
from goodparts.trainer.backbone import Backbone

from goodparts import Detector
from tests.conftest import draw_part


@pytest.fixture
def detector(engine_folder: Path, recipe_file: Path) -> Detector:
    return Detector.open(engine_folder, recipe_file)


def test_scores_equal_torch(detector: Detector, demo: Backbone, recipe: Recipe, photos: Path) -> None:
    frame = load_rgb(photos / "bad" / "4.png")
    expected = score(demo.encode(View().cut(frame, 128)), recipe.learned())
    seen = detector.predict(frame)
    assert seen.score == pytest.approx(float(expected.image[0]), abs=1e-5)
    np.testing.assert_allclose(seen.grid, expected.grid[0], atol=1e-5)
    assert seen.map.shape == (400, 400)


def test_a_batch_gives_what_single_pictures_give(detector: Detector, photos: Path) -> None:
    paths = sorted(photos.rglob("*.png"))
    together = detector.predict_batch(paths)
    for path, inspection in zip(paths, together, strict=True):
        # kernels differ with the batch's size
        assert inspection.score == pytest.approx(detector.predict(path).score, abs=1e-6)
    assert detector.predict_batch([]) == []


def test_threshold_decides_and_can_be_changed(detector: Detector, photos: Path) -> None:
    score_ = detector.predict(photos / "bad" / "4.png").score
    for threshold, verdict in ((score_ * 0.9, "reject"), (score_ * 1.1, "good")):
        detector.thresholds = msgspec.structs.replace(detector.thresholds, image=threshold)
        seen = detector.predict(photos / "bad" / "4.png")
        assert (seen.verdict, seen.threshold, seen.score) == (verdict, threshold, score_)
        assert (seen.calibrated >= 0.5) == (verdict == "reject")


def test_regions_lie_in_the_region_of_interest(detector: Detector, recipe: Recipe) -> None:
    roi = Box(60, 20, 200, 200)
    header = msgspec.structs.replace(recipe.header, view=View(roi=roi))
    detector.use(dataclasses.replace(recipe, header=header))
    detector.thresholds = msgspec.structs.replace(detector.thresholds, pixel=1e-4)
    seen = detector.predict(draw_part(4, defect=True))
    assert seen.regions
    for region in seen.regions:
        assert region.box.x >= roi.x
        assert region.box.y >= roi.y
        assert region.box.x + region.box.width <= roi.x + roi.width
        assert region.box.y + region.box.height <= roi.y + roi.height


def test_a_recipe_of_another_encoder_is_refused_and_the_old_one_stays(detector: Detector, recipe: Recipe) -> None:
    encoder = msgspec.structs.replace(recipe.header.encoder, backbone="other", weights="f" * 64)
    stranger = dataclasses.replace(recipe, header=msgspec.structs.replace(recipe.header, encoder=encoder))
    before = detector.recipe
    with pytest.raises(RecipeError, match=r"made for other at 128 px, weights f{12}, this engine is demo at 128 px"):
        detector.use(stranger)
    assert detector.recipe is before


def test_a_recipe_of_another_graph_is_fitted_from_its_shots(
    engine_folder: Path, recipe: Recipe, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    native = Detector.open(engine_folder, save(recipe, photos.parent / "native.safetensors"))
    foreign = dataclasses.replace(
        recipe,
        header=msgspec.structs.replace(recipe.header, graph="0" * 64),
        banks=tuple(np.zeros_like(bank) for bank in recipe.banks),  # useless in this graph
    )
    with caplog.at_level(logging.INFO, "goodparts"):
        detector = Detector.open(engine_folder, save(foreign, photos.parent / "foreign.safetensors"))
    assert "made with another graph" in caplog.text
    assert detector.recipe.header.graph == read_spec(engine_folder).graph_id("fp32")
    path = photos / "bad" / "4.png"
    # banks through the graph instead of through torch, both rounded to fp16
    assert detector.predict(path).score == pytest.approx(native.predict(path).score, rel=1e-3)
    assert detector.thresholds.image == pytest.approx(native.thresholds.image, rel=1e-2)


def test_a_recipe_of_another_graph_without_shots_is_refused(detector: Detector, recipe: Recipe) -> None:
    header = msgspec.structs.replace(recipe.header, graph="0" * 64)
    with pytest.raises(RecipeError, match="made with another graph and holds no shots"):
        detector.use(dataclasses.replace(recipe, header=header, shots=None))


def test_timings_are_told_per_stage(detector: Detector, photos: Path) -> None:
    seen = detector.predict(photos / "bad" / "4.png")
    assert list(seen.milliseconds) == ["preprocess", "encode", "score"]
    assert min(seen.milliseconds.values()) > 0


def save(recipe: Recipe, path: Path) -> Path:
    recipe.save(path)
    return path
