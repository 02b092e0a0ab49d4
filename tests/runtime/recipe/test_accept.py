"""Accepting photos, and taking them back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest
from goodparts.runtime.core.errors import GoodpartsError, RecipeError, SettingsError
from goodparts.runtime.core.view import Box, View
from goodparts.runtime.detector import Detector
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.recipe.accept import Photo, apply, history, preview, undo
from goodparts.runtime.recipe.calibrate import FALSE_REJECT_RATE, calibrate_on
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.runtime.recipe.refit import most_novel, refit
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import draw_part

PHOTOS = [Photo.of_pixels(f"{seed}.png", np.asarray(draw_part(seed, defect=seed % 2 == 0))) for seed in range(10, 15)]


@pytest.fixture(scope="module")
def engine(engine_folder: Path) -> Engine:
    return Engine.open(engine_folder)


@pytest.fixture(scope="module")
def saved(recipe_file: Path) -> Recipe:
    return Recipe.open(recipe_file)


def accept(recipe: Recipe, engine: Engine, *accepts: list[Photo], max_rows: int | None = None) -> Recipe:
    for photos in accepts:
        recipe = preview(recipe, engine, photos, max_rows=max_rows).after
    return recipe


def test_undo_gives_the_bytes_of_a_recipe_without_that_accept(engine: Engine, saved: Recipe) -> None:
    @settings(max_examples=6, deadline=None)
    @given(st.permutations(PHOTOS), st.lists(st.integers(1, 2), min_size=1, max_size=2), st.data())
    def check(photos: list[Photo], counts: list[int], data: st.DataObject) -> None:
        ends = np.cumsum(counts)
        accepts = [photos[end - count : end] for count, end in zip(counts, ends, strict=True)]
        max_rows = data.draw(st.sampled_from([None, 3000]))
        full = accept(saved, engine, *accepts, max_rows=max_rows)
        gone = data.draw(st.integers(0, len(accepts) - 1))
        which = data.draw(st.sampled_from([str(gone + 1), accepts[gone][0].name, accepts[gone][-1].sha256[:12]]))
        again = undo(Recipe.from_bytes(full.to_bytes()), engine, which).after
        rest = accepts[:gone] + accepts[gone + 1 :]
        assert again.to_bytes() == accept(saved, engine, *rest, max_rows=max_rows).to_bytes()

    check()


def test_a_bank_never_exceeds_its_bound_and_keeps_the_learned_rows(engine: Engine, saved: Recipe) -> None:
    learned = len(saved.banks[0])

    @settings(max_examples=6, deadline=None)
    @given(st.integers(learned + 1, learned + 2500), st.integers(1, 3))
    def check(max_rows: int, count: int) -> None:
        made = accept(saved, engine, PHOTOS[:count], max_rows=max_rows)
        for bank, photos, old in zip(made.banks, made.shot_of_row, saved.banks, strict=True):
            assert len(bank) == min(max_rows, learned + 900 * count)
            np.testing.assert_array_equal(bank[:learned], old)
            assert (np.diff(photos) >= 0).all()

    check()


def test_an_accepted_photo_scores_less_and_no_other_photo_scores_more(engine: Engine, saved: Recipe) -> None:
    for photo in PHOTOS[:3]:
        change = preview(saved, engine, [photo], PHOTOS)
        (effect,) = change.photos
        assert effect.after < 0.1 * effect.before
        before, after = (one.header.thresholds.image for one in (change.before, change.after))
        assert all(other.after * after <= other.before * before * (1 + 1e-9) for other in change.rejects)  # raw scores
        assert effect in change.rejects


def test_a_reject_that_is_accepted_turns_good_and_the_calibration_has_one_photo_more(
    engine: Engine, saved: Recipe
) -> None:
    change = preview(saved, engine, [PHOTOS[0]])
    (effect,) = change.photos
    assert (effect.name, effect.was, effect.becomes) == ("10.png", "reject", "good")
    before, after = saved.header, change.after.header
    assert len(after.shot_calibration.image.scores) == len(before.shots) + 1
    # Scored as if it were new, the accepted photo scores highest, as high as before it was accepted.
    assert after.shot_calibration.image.scores[-1] == pytest.approx(effect.before * before.thresholds.image, rel=1e-3)
    assert after.thresholds.image == after.calibration.image.threshold(FALSE_REJECT_RATE) != before.thresholds.image
    assert [shot.name for shot in after.shots[after.learned_shots :]] == ["10.png"]


def test_thresholds_set_by_hand_or_on_further_photos_stay(engine: Engine, saved: Recipe) -> None:
    by_hand = saved.with_thresholds(msgspec.structs.replace(saved.header.thresholds, image=0.5))
    made = preview(by_hand, engine, PHOTOS[:1]).after.header
    assert made.thresholds.image == 0.5
    assert made.thresholds.pixel == made.calibration.pixel.threshold(FALSE_REJECT_RATE)
    views = [View().cut(photo.pixels, engine.encoder.image_size) for photo in PHOTOS]
    further = calibrate_on(saved.learned(), views, engine.encode)
    made = preview(saved.recalibrate(further, 0.1), engine, PHOTOS[:1]).after.header
    assert made.calibration == further
    assert made.thresholds.image == further.image.threshold(0.1)


def test_a_recipe_fitted_to_another_graph_equals_one_accepted_there(engine: Engine, saved: Recipe) -> None:
    here = accept(refit(saved, engine.encode, engine.graph_id()), engine, PHOTOS[:1], max_rows=3000)
    # The photo is accepted with another graph. The zeros stand for a memory that does not fit this graph.
    there = accept(saved, engine, PHOTOS[:1], max_rows=3000)
    header = msgspec.structs.replace(there.header, graph="0" * 64)
    there = dataclasses.replace(there, header=header, banks=tuple(np.zeros_like(bank) for bank in there.banks))
    there = Recipe.from_bytes(there.to_bytes())
    again = refit(there, engine.encode, engine.graph_id())
    assert again.digest == there.digest  # fitting does not make another recipe
    assert again.to_bytes() == here.to_bytes()


def test_a_change_is_written_only_over_the_recipe_it_was_made_from(
    engine: Engine, recipe_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "ring.safetensors"
    path.write_bytes(recipe_file.read_bytes())
    change = preview(Recipe.open(path), engine, PHOTOS[:1])
    apply(change, path)
    assert path.read_bytes() == change.after.to_bytes()
    with pytest.raises(RecipeError, match="has changed since the preview: preview the change again"):
        apply(change, path)
    apply(undo(Recipe.open(path), None), path)
    assert path.read_bytes() == recipe_file.read_bytes()


def test_photos_of_a_source_with_its_own_region_are_cut_there(engine: Engine, saved: Recipe) -> None:
    view = View(roi=Box(40, 0, 240, 240))
    (photo,) = PHOTOS[:1]
    change = preview(saved, engine, [photo], [photo], view=view)
    assert change.after.shots is not None
    np.testing.assert_array_equal(change.after.shots[-1:], view.cut(photo.pixels, engine.encoder.image_size))
    assert change.rejects == change.photos
    assert change.after.header.view == saved.header.view
    with pytest.raises(SettingsError, match="does not lie inside a 320×240 frame"):
        preview(saved, engine, [photo], view=View(roi=Box(300, 0, 240, 240)))


def test_history_names_each_photo_with_its_digest(engine: Engine, saved: Recipe, photos: Path) -> None:
    bad = photos / "bad" / "4.png"
    made = accept(saved, engine, [Photo.read(bad)], PHOTOS[:2])
    names = [[(shot.name, shot.sha256) for shot, _ in each] for each in history(made)]
    assert names == [
        [("4.png", Photo.decode("", bad.read_bytes()).sha256)],
        [(photo.name, photo.sha256) for photo in PHOTOS[:2]],
    ]


def test_an_impossible_accept_or_undo_is_reported_in_one_line(engine: Engine, saved: Recipe, photos: Path) -> None:
    twice = accept(saved, engine, PHOTOS[:1], PHOTOS[1:2])
    prompts_only = dataclasses.replace(saved, header=msgspec.structs.replace(saved.header, fusion="prompt"))
    shot = Photo.read(photos / "good" / "1.png")
    for call, error, message in (
        (lambda: preview(prompts_only, engine, PHOTOS[:1]), RecipeError, "scores with its prompts only"),
        (lambda: preview(dataclasses.replace(saved, shots=None), engine, PHOTOS[:1]), RecipeError, "holds no shots"),
        (lambda: preview(saved, engine, [shot]), SettingsError, "1.png is already in the recipe, as 1.png"),
        (lambda: preview(saved, engine, PHOTOS[:1] * 2), SettingsError, "already in the recipe, as 10.png"),
        (lambda: preview(saved, engine, []), SettingsError, "no photo to accept"),
        (lambda: preview(saved, engine, PHOTOS[:1], max_rows=2700), SettingsError, "2700 rows of the learned shots"),
        (lambda: undo(saved, engine), SettingsError, "no photo was accepted"),
        (lambda: undo(twice, engine, "3"), SettingsError, "'3' names none of the 2 accepts: give a number from 1 to 2"),
        (lambda: undo(twice, None), SettingsError, "other accepted photos remain: give the engine"),
    ):
        with pytest.raises(error, match=message) as caught:
            call()
        assert isinstance(caught.value, GoodpartsError)
        assert "\n" not in str(caught.value)


def test_the_rows_that_were_least_new_go_first() -> None:
    known = np.array([[1, 0, 0]], np.float16)
    like_known, new, again = [[0.9, 0.1, 0]], [[0, 1, 0]], [[0, 1, 0.1]]
    first, second = (np.array(rows, np.float16) for rows in (like_known + new, again))
    assert [list(kept) for kept in most_novel(known, [first, second], 1)] == [[1], []]
    assert [list(kept) for kept in most_novel(known, [first, second], 2)] == [[0, 1], []]
    assert [list(kept) for kept in most_novel(known, [first, second], 3)] == [[0, 1], [0]]


def test_an_accepted_photo_belongs_to_the_scene(engine: Engine, saved: Recipe) -> None:
    dim, dimmer = (Photo.of_pixels(f"{part}.png", PHOTOS[1].pixels // part) for part in (2, 3))
    made = preview(saved, engine, [dim, dimmer]).after
    before, after = (Detector(engine, recipe).predict(dim.pixels).scene for recipe in (saved, made))
    assert before is not None
    assert before.reason == "darker"
    assert after is None
    assert undo(made, engine).after.header.scene == saved.header.scene
