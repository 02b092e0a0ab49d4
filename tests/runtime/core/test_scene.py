"""A changed scene is found with its reason. Good and bad parts are not reported as a change of scene."""

from __future__ import annotations

import functools
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from goodparts.drawn.parts import DEFECTS
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scene import Scene, learn_scene, measure_scene
from PIL import Image, ImageFilter

SIDE = 96
GOOD = np.full((1, 6, 6), 0.05, np.float32)
"""Memory scores of a good part's patches."""
OBJECTS, TEXTURES = ("nut", "connector"), ("leather", "wood")


@functools.cache
def product(kind: str) -> DrawnProduct:
    return DrawnProduct(kind, 7)


@functools.cache
def photo(kind: str, seed: int, defect: str | None = None) -> Array8:
    return product(kind).photo(seed, defect, (SIDE, SIDE)).image


@functools.cache
def scene(kind: str, shots: int = 4) -> Scene:
    return learn_scene([measure_scene(photo(kind, seed)[None], GOOD) for seed in range(shots)])


def reason(known: Scene, picture: Array8, grid: np.ndarray = GOOD) -> str | None:
    change = known.judge(measure_scene(picture[None], grid))
    return None if change is None else change.reason


def moved(picture: Array8) -> Array8:
    """Return the picture, moved to the right by a quarter of its width. The new part looks like the border."""
    return np.pad(picture, ((0, 0), (SIDE // 4, 0), (0, 0)), mode="edge")[:, :SIDE]


def blurred(picture: Array8) -> Array8:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2)))


def flat(level: int) -> Callable[[Array8], Array8]:
    return lambda picture: np.full_like(picture, level)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda picture: picture // 2, "darker"),
        (flat(3), "darker"),
        (flat(255), "brighter"),
        (flat(128), "empty"),
        (blurred, "blurred"),
        (moved, "moved"),
    ],
    ids=["half the light", "no light", "too much light", "nothing in view", "out of focus", "moved"],
)
@pytest.mark.parametrize("kind", OBJECTS)
def test_a_change_is_found_with_its_reason(kind: str, change: Callable[[Array8], Array8], expected: str) -> None:
    assert [reason(scene(kind), change(photo(kind, seed))) for seed in range(20, 24)] == [expected] * 4


@pytest.mark.parametrize("change", [lambda picture: picture // 2, flat(255), blurred])
def test_the_sentence_names_a_wrong_recipe_too(change: Callable[[Array8], Array8]) -> None:
    seen = scene("nut").judge(measure_scene(change(photo("nut", 20))[None], GOOD))
    assert seen is not None
    assert "that the recipe is this product's" in seen.sentence


@pytest.mark.parametrize("kind", OBJECTS + TEXTURES)
def test_neither_good_nor_bad_parts_are_another_scene(kind: str) -> None:
    good = [reason(scene(kind), photo(kind, seed)) for seed in range(20, 32)]
    bad = [reason(scene(kind), photo(kind, 20, defect)) for defect in DEFECTS]
    assert {*good, *bad} == {None}


def test_a_texture_looks_the_same_wherever_the_camera_is() -> None:
    assert reason(scene("leather"), moved(photo("leather", 20))) is None


def test_the_sentence_tells_how_far_the_picture_moved() -> None:
    change = scene("nut").judge(measure_scene(moved(photo("nut", 20))[None], GOOD))
    assert change is not None
    assert "+25 % of its width and +0 % of its height" in change.sentence


def test_a_picture_is_unlike_if_most_patches_are_far_from_the_memory() -> None:
    defective, strange = GOOD.copy(), GOOD.copy()
    defective[0, :2] = strange[0, :5] = 0.5
    assert reason(scene("nut"), photo("nut", 20), defective) is None
    assert reason(scene("nut"), photo("nut", 20), strange) == "unlike"


def test_a_single_shot_tells_light_and_focus_but_not_how_parts_lie_or_differ() -> None:
    known = scene("nut", shots=1)
    seen = [reason(known, change(photo("nut", 20))) for change in (lambda picture: picture // 2, blurred, moved)]
    assert seen == ["darker", "blurred", None]
    assert reason(known, photo("nut", 20), 10 * GOOD) is None


@pytest.mark.parametrize("shape", [(4, 33, 33, 3), (2, 16, 16, 3)], ids=["odd tiles", "fewer pixels than cells"])
def test_views_of_any_size_and_number(shape: tuple[int, ...]) -> None:
    views = np.random.default_rng(0).integers(100, 150, shape, np.uint8)
    measures = measure_scene(views, np.repeat(GOOD, len(views), axis=0))
    known = learn_scene([measures, measures])
    assert known.judge(measures) is None
    assert msgspec.json.decode(msgspec.json.encode(known), type=Scene) == known
