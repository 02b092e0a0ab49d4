from __future__ import annotations

import dataclasses
import logging
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from goodparts.runtime import Engine, EngineError, ImageError, RecipeError
from goodparts.runtime.backends.tensors import Outputs
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.preprocess import load_rgb
from goodparts.runtime.core.regions import find_regions
from goodparts.runtime.core.scoring import Fusion, score, score_branches
from goodparts.runtime.core.view import Box, View
from goodparts.runtime.describe import as_record
from goodparts.runtime.engine.spec import Tap, read_spec
from goodparts.runtime.recipe.calibrate import FALSE_REJECT_RATE
from goodparts.runtime.recipe.product import Product
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.runtime.recipe.refit import refit
from goodparts.runtime.recipe.shots import Shots
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.method import learn_recipe
from goodparts.trainer.promptad.method import PromptAD
from goodparts.trainer.promptad.suffixes import GENERIC

from goodparts import Detector
from tests.conftest import draw_part


@pytest.fixture
def detector(engine_folder: Path, recipe_file: Path) -> Detector:
    return Detector.open(engine_folder, recipe_file)


def test_scores_equal_torch(detector: Detector, small: Backbone, recipe: Recipe, photos: Path) -> None:
    frame = load_rgb(photos / "bad" / "4.png")
    expected = score(small.encode(View().cut(frame, small.encoder.image_size)), recipe.learned())
    seen = detector.predict(frame)
    assert seen.raw_score == pytest.approx(float(expected.image[0]), abs=1e-5)
    np.testing.assert_allclose(seen.grids, expected.grid, atol=1e-5)
    assert seen.map.shape == (400, 400)


@pytest.mark.parametrize("fusion", ["memory", "prompt"])
def test_a_recipe_may_use_one_branch_only(
    fusion: Fusion, small: Backbone, engine_folder: Path, photos: Path, shots: Shots
) -> None:
    method = PromptAD.configure("clean", {"steps": 1, "fusion": fusion})
    product = Product("ring", GENERIC, View(), shots)
    made = learn_recipe(method, small, product, read_spec(engine_folder).graph_id("plain", "fp32"))
    detector = Detector(Engine.open(engine_folder), Recipe.from_bytes(made.to_bytes()))
    frame = load_rgb(photos / "bad" / "4.png")
    branches = score_branches(small.encode(View().cut(frame, small.encoder.image_size)), made.learned())
    seen = detector.predict(frame)
    assert seen.raw_score == pytest.approx(float(getattr(branches, f"image_{fusion}")[0]), abs=1e-5)
    np.testing.assert_allclose(seen.grids, getattr(branches, f"grid_{fusion}"), atol=1e-5)
    # Its thresholds are on that branch's scale.
    good = made.header.calibration.image
    assert seen.raw_threshold == pytest.approx(good.threshold(FALSE_REJECT_RATE))
    again = refit(made, detector.engine.encode, "another graph").header.calibration.image
    assert again.location == pytest.approx(good.location, abs=1e-3)


def test_a_batch_gives_what_single_pictures_give(detector: Detector, photos: Path) -> None:
    paths = sorted(photos.rglob("*.png"))
    together = detector.predict_batch(paths)
    for path, inspection in zip(paths, together, strict=True):
        # Kernels differ with the batch's size.
        assert inspection.raw_score == pytest.approx(detector.predict(path).raw_score, abs=1e-6)
    assert detector.predict_batch([]) == []


def test_threshold_decides_and_can_be_changed(detector: Detector, photos: Path) -> None:
    score_ = detector.predict(photos / "bad" / "4.png").raw_score
    for threshold, verdict in ((score_ * 0.9, "reject"), (score_, "reject"), (score_ * 1.1, "good")):
        detector.thresholds = msgspec.structs.replace(detector.thresholds, image=threshold)
        seen = detector.predict(photos / "bad" / "4.png")
        assert (seen.verdict, seen.raw_threshold, seen.raw_score) == (verdict, threshold, score_)
        assert seen.score == score_ / threshold


def test_a_part_just_below_the_threshold_is_to_be_reviewed_if_the_recipe_says_so(
    detector: Detector, photos: Path
) -> None:
    seen = detector.predict(photos / "bad" / "4.png")
    for factor, verdict in ((0.99, "reject"), (1.0, "reject"), (1.2, "review"), (1.25, "review"), (1.3, "good")):
        thresholds = msgspec.structs.replace(seen.thresholds, image=seen.raw_score * factor, review=0.8)
        assert dataclasses.replace(seen, thresholds=thresholds).verdict == verdict
    for review in (0.0, 1.0, math.nan):
        with pytest.raises(SettingsError, match=f"review {review}: a score above 0 and below 1 is needed"):
            detector.thresholds = msgspec.structs.replace(detector.thresholds, review=review)


def test_a_part_that_a_higher_threshold_lets_pass_has_no_outlined_defect(detector: Detector, photos: Path) -> None:
    bad, recipes = photos / "bad" / "4.png", detector.thresholds
    seen = detector.predict(bad)
    assert seen.regions
    excess = max(seen.raw_score / recipes.image, float(seen.map.max()) / recipes.pixel)
    detector.thresholds = recipes.scaled_by(excess * 1.1)
    seen = detector.predict(bad)
    assert seen.verdict == "good"
    assert seen.regions == []
    assert detector.thresholds.pixel / detector.thresholds.image == pytest.approx(recipes.pixel / recipes.image)


def test_a_detector_is_opened_once_per_process(detector: Detector) -> None:
    with pytest.raises(EngineError, match="a Detector cannot be pickled .*: open one per process"):
        pickle.dumps(detector)


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


def test_if_no_cell_reaches_the_pixel_threshold_there_is_no_region_and_no_map_is_computed(
    detector: Detector, photos: Path
) -> None:
    seen = detector.predict(photos / "bad" / "4.png")
    for pixel in (float(seen.grids.max()), float(seen.map.max())):
        at = dataclasses.replace(seen, thresholds=msgspec.structs.replace(seen.thresholds, pixel=pixel))
        assert at.regions == find_regions(at.map, pixel, at.thresholds.min_area, at.extent)
    above = msgspec.structs.replace(seen.thresholds, pixel=float(seen.grids.max()) * 1.001)
    quiet = dataclasses.replace(seen, thresholds=above)
    assert quiet.regions == []
    assert "map" not in vars(quiet)


def test_a_recipe_of_another_encoder_is_refused_and_the_old_one_stays(detector: Detector, recipe: Recipe) -> None:
    before, known = detector.recipe, recipe.header.encoder
    for encoder, message in (
        (
            msgspec.structs.replace(known, weights="f" * 64),
            r"made for small at 240 px, weights f{12}, .* this engine is",
        ),
        (
            msgspec.structs.replace(known, taps=(Tap(2, 128), Tap(4, 128))),
            "memory taps 2,4 .* engine .* taps 6,13",
        ),
        (msgspec.structs.replace(known, neighbourhood=1), "neighbourhood 1, this engine .* neighbourhood 3: use the"),
    ):
        stranger = dataclasses.replace(recipe, header=msgspec.structs.replace(recipe.header, encoder=encoder))
        with pytest.raises(RecipeError, match=message):
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
    assert detector.recipe.header.graph == read_spec(engine_folder).graph_id("plain", "fp32")
    path = photos / "bad" / "4.png"
    # The banks come from the graph instead of from torch; both are rounded to float16.
    assert detector.predict(path).raw_score == pytest.approx(native.predict(path).raw_score, rel=1e-3)
    assert detector.thresholds.image == pytest.approx(native.thresholds.image, rel=1e-2)


def test_a_recipe_of_another_graph_without_shots_is_refused(detector: Detector, recipe: Recipe) -> None:
    header = msgspec.structs.replace(recipe.header, graph="0" * 64)
    with pytest.raises(RecipeError, match="made with another graph and holds no shots"):
        detector.use(dataclasses.replace(recipe, header=header, shots=None))


def test_the_time_of_each_stage_is_measured(detector: Detector, photos: Path) -> None:
    seen = detector.predict(photos / "bad" / "4.png")
    assert list(seen.milliseconds) == ["preprocess", "encode", "score"]
    assert min(seen.milliseconds.values()) > 0


def save(recipe: Recipe, path: Path) -> Path:
    recipe.save(path)
    return path


def test_products_can_change_while_other_threads_inspect(engine_folder: Path, recipe: Recipe, photos: Path) -> None:
    """Every score belongs to one of the two products, with that product's threshold."""
    other = recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, image=0.5))
    other = dataclasses.replace(other, banks=tuple(bank[::-1] * np.float16(0.5) for bank in other.banks))
    detector = Detector.open(engine_folder, save(recipe, photos.parent / "one.safetensors"))
    frame = load_rgb(photos / "bad" / "4.png")
    expected = set()
    for product in (recipe, other):
        detector.use(product)
        expected.add((round(detector.predict(frame).raw_score, 5), detector.thresholds.image))
    with ThreadPoolExecutor(2) as pool:
        seen = pool.map(lambda _: detector.predict(frame), range(30))
        for product in (recipe, other) * 30:
            detector.use(product)
        assert {(round(one.raw_score, 5), one.raw_threshold) for one in seen} <= expected


def test_a_single_path_is_refused_as_a_batch_and_an_array_of_frames_is_accepted(
    detector: Detector, photos: Path
) -> None:
    with pytest.raises(ImageError, match="pictures is a single str: give a list"):
        detector.predict_batch(str(photos / "bad" / "4.png"))
    frames = np.stack([load_rgb(photos / "bad" / "4.png")] * 2)
    assert len(detector.predict_batch(frames)) == 2


def test_a_recipe_that_was_never_saved_has_a_digest(detector: Detector, recipe: Recipe, recipe_file: Path) -> None:
    detector.use(recipe)
    assert detector.predict(draw_part(1)).recipe == Recipe.open(recipe_file).digest


def test_thresholds_set_by_hand_move_with_the_graph(recipe: Recipe, small: Backbone) -> None:
    double = recipe.with_thresholds(
        msgspec.structs.replace(recipe.header.thresholds, image=2 * recipe.header.thresholds.image)
    )
    again = refit(double, small.encode, "0" * 64)
    assert again.header.thresholds.image == pytest.approx(double.header.thresholds.image, rel=1e-2)


def test_tiles_are_scored_apart_and_the_worst_one_counts(engine_folder: Path, recipe: Recipe, small: Backbone) -> None:
    view = View(tiles=(1, 2), overlap=0.0)
    views = np.concatenate([view.cut(np.asarray(draw_part(seed)), small.encoder.image_size) for seed in (1, 2, 3)])
    header = msgspec.structs.replace(recipe.header, view=view, scene=msgspec.UNSET)
    tiled = dataclasses.replace(recipe, header=header, shots=views)
    detector = Detector(Engine.open(engine_folder), refit(tiled, small.encode, recipe.header.graph))
    frame = np.asarray(draw_part(4, defect=True))
    seen = detector.predict(frame)
    halves = score(small.encode(view.cut(frame, small.encoder.image_size)), detector.recipe.learned())
    assert seen.raw_score == pytest.approx(float(halves.image.max()), abs=1e-5)
    assert seen.map.shape == (400, 800)
    assert seen.grids.shape[0] == 2


def test_features_that_are_not_finite_are_an_error_and_not_a_good_part(
    detector: Detector, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = detector.engine.graphs["plain"]
    run = session.run

    def give_nan(*inputs: Any) -> Outputs:
        return {name: output * np.float32("nan") for name, output in run(*inputs).items()}

    monkeypatch.setattr(session, "run", give_nan)
    with pytest.raises(EngineError, match="not finite"):
        detector.predict(photos / "good" / "1.png")


def test_another_scene_is_reported_apart_from_the_verdict(detector: Detector, recipe: Recipe) -> None:
    good = np.asarray(draw_part(5))
    assert detector.predict(good).scene is None
    seen = detector.predict(good // 2)
    assert seen.scene is not None
    assert seen.scene.reason == "darker"
    assert as_record(seen)["scene"] is seen.scene
    silent = msgspec.structs.replace(recipe.header, scene=msgspec.UNSET)
    detector.use(Recipe.from_bytes(dataclasses.replace(recipe, header=silent).to_bytes()))
    assert detector.predict(good // 2).scene is None
