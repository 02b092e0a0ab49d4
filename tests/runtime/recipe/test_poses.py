"""Shots that are remembered turned and mirrored too: learning, accepting, and fitting to another graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from goodparts.runtime.core.errors import RecipeError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Floats, score
from goodparts.runtime.core.view import View
from goodparts.runtime.describe import describe_recipe
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import read_spec
from goodparts.runtime.recipe.accept import PHOTOS_MORE, Photo, preview, undo
from goodparts.runtime.recipe.calibrate import Encode
from goodparts.runtime.recipe.memory import POSES
from goodparts.runtime.recipe.product import Product
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.runtime.recipe.refit import refit
from goodparts.runtime.recipe.shots import Shots
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.method import learn_recipe
from goodparts.trainer.promptad.method import PromptAD
from goodparts.trainer.promptad.suffixes import GENERIC
from goodparts.trainer.settings import RunOptions

from tests.conftest import draw_part

PATCHES = 900


@pytest.fixture(scope="module")
def posed(small: Backbone, engine_folder: Path, shots: Shots) -> Recipe:
    """The product of `recipe`, learned with poses and scored by its memory."""
    method = PromptAD.configure("clean", {"steps": 1, "poses": True, "fusion": "memory"})
    graph = read_spec(engine_folder).graph_id("plain", "fp32")
    recipe = learn_recipe(method, small, Product("ring", GENERIC, View(), shots), graph, RunOptions())
    return Recipe.from_bytes(recipe.to_bytes())


def turned(views: Array8) -> Iterator[Array8]:
    """Yield views [B,S,S,3] in their seven other poses."""
    for mirrored in (views, views.transpose(0, 2, 1, 3)):
        for pose in (mirrored, mirrored[:, ::-1], mirrored[:, :, ::-1], mirrored[:, ::-1, ::-1]):
            if pose is not views:
                yield np.ascontiguousarray(pose)


def highest(recipe: Recipe, encode: Encode, views: Array8) -> Floats:
    """Return the memory's image scores of views [B,S,S,3]."""
    return score(encode(views), recipe.learned()).branches.image_memory


def test_a_turned_or_mirrored_good_part_is_known_with_poses_only(
    small: Backbone, posed: Recipe, recipe: Recipe
) -> None:
    assert posed.shots is not None
    for bank, shot_of_row in zip(posed.banks, posed.shot_of_row, strict=True):
        assert len(bank) == 3 * POSES * PATCHES
        np.testing.assert_array_equal(shot_of_row, np.repeat([0, 1, 2], POSES * PATCHES))
    for views in turned(posed.shots):
        # The memory is float16, so a patch's distance to itself is not quite 0.
        assert highest(posed, small.encode, views).max() < 1e-3
        assert highest(recipe, small.encode, views).min() > 0.01


def test_each_shot_is_calibrated_against_all_poses_of_the_others(small: Backbone, posed: Recipe) -> None:
    assert posed.shots is not None
    features, seen = small.encode(posed.shots), posed.header.shot_calibration.image.scores
    for index in range(3):
        learned = posed.learned()
        others = [shots != index for shots in learned.shot_of_row]
        unseen = dataclasses.replace(
            learned,
            banks=tuple(bank[rows] for bank, rows in zip(learned.banks, others, strict=True)),
            margins=tuple(margins[rows] for margins, rows in zip(learned.margins, others, strict=True)),
        )
        expected = score(features[index : index + 1], unseen).image
        assert seen[index] == pytest.approx(float(expected[0]), rel=1e-4)
        assert seen[index] > 1e-3


def test_accepting_and_taking_back_follow_the_poses(engine_folder: Path, posed: Recipe) -> None:
    engine = Engine.open(engine_folder)
    photo = Photo.of_pixels("10.png", np.asarray(draw_part(10, defect=True)))
    accepted = Recipe.from_bytes(preview(posed, engine, [photo]).after.to_bytes())
    view = View().cut(photo.pixels, engine.encoder.image_size)
    assert [len(bank) for bank in accepted.banks] == [4 * POSES * PATCHES] * 2
    assert accepted.header.accepted
    assert accepted.header.accepted.max_rows == (3 + PHOTOS_MORE) * POSES * PATCHES
    for pose in turned(view):
        assert highest(accepted, engine.encode, pose)[0] < 1e-3 < 0.01 < highest(posed, engine.encode, pose)[0]
    assert undo(accepted, engine).after.to_bytes() == posed.to_bytes()
    # On the same graph under another name everything is computed again, with the same result.
    again = refit(accepted, engine.encode, "another graph")
    assert again.header.poses
    for one, other in zip(again.banks, accepted.banks, strict=True):
        np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), atol=2e-3)


def test_poses_are_described_and_the_rows_are_checked(posed: Recipe) -> None:
    assert "  looks at: seven more poses" in describe_recipe(Path("ring"), posed)
    data = posed.to_bytes()
    assert Recipe.from_bytes(data).to_bytes() == data
    plain = dataclasses.replace(posed, header=msgspec.structs.replace(posed.header, poses=False))
    with pytest.raises(RecipeError, match=r"memory_0 is float16 \[21600, 32\], should be float16 \[2700, 32\]"):
        Recipe.from_bytes(plain.to_bytes())
