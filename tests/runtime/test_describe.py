"""Descriptions of thresholds: what they rest on, and what they cannot promise."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest
from goodparts.runtime.core.view import Box, View, encode_mask
from goodparts.runtime.describe import (
    PROVISIONAL,
    describe_learned,
    describe_proposal,
    describe_recipe,
    describe_seen,
    describe_thresholds,
)
from goodparts.runtime.inspection import format_score
from goodparts.runtime.recipe.calibrate import Separation
from goodparts.runtime.recipe.recalibrate import BadPhotos, Recalibration
from goodparts.runtime.recipe.recipe import Recipe


def test_other_rates_are_described_as_scores_of_today(recipe: Recipe) -> None:
    level = recipe.header.calibration.image
    lines = describe_thresholds(recipe.recalibrate(recipe.header.calibration, 0.05).header)
    for rate, missing in ((0.01, 96), (0.05, 16), (0.1, 6)):
        relative = level.threshold(rate) / level.threshold(0.05)
        reached = sum(score >= level.threshold(rate) for score in level.scores)
        expected = f"{100 * rate:g} %  {format_score(relative)}; {reached} of 3 scores reach it"
        expected += f"; about {missing} more good photos would verify it"
        assert any(line.endswith(expected) for line in lines)
    assert any(line.startswith("  3 photos cannot verify a rate of 5 %; about 16 more would") for line in lines)


def test_a_recipe_of_one_photo_is_provisional_until_its_threshold_is_set_by_hand(recipe: Recipe) -> None:
    copies = msgspec.structs.replace(recipe.header.calibration, source="copies")
    single = recipe.recalibrate(copies, 0.05)
    assert f"  {PROVISIONAL}" in describe_thresholds(single.header)
    by_hand = single.with_thresholds(single.header.thresholds.scaled_by(0.5))
    assert not by_hand.header.is_provisional
    assert "  set by hand; the calibrated threshold is 2.00" in describe_thresholds(by_hand.header)
    assert not recipe.header.is_provisional


def test_a_threshold_above_all_scores_gives_a_warning(recipe: Recipe) -> None:
    highest = max(recipe.header.calibration.image.scores)
    for factor, warned in ((1.01, True), (0.99, False)):
        placed = recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, image=highest * factor))
        told = describe_seen(Path("r"), Recalibration(recipe, placed), placed.header.thresholds)
        assert any("No part seen so far reaches this threshold" in line for line in told) == warned


def test_what_a_recipe_looks_at_is_told_in_one_line(recipe: Recipe) -> None:
    mask = np.zeros((240, 320), bool)
    mask[60:180, 80:200] = True
    view = View(roi=Box(80, 60, 200, 120), mask=encode_mask(mask), tiles=(1, 2), resize="letterbox")
    for chosen, poses, told in (
        (View(), False, None),
        (View(mask=encode_mask(mask)), False, "mask, 18.8 % of the photo"),
        (view, True, "region 80,60,200,120; mask, 60 % of the region; tiles 1×2; letterbox; seven more poses"),
    ):
        header = msgspec.structs.replace(recipe.header, view=chosen, scene=msgspec.UNSET, poses=poses)
        looking = dataclasses.replace(recipe, header=header)
        for lines in (describe_recipe(Path("r"), looking), describe_learned(Path("r"), looking)):
            assert [line for line in lines if "looks at" in line] == ([f"  looks at: {told}"] if told else [])


def test_a_recipe_is_told_in_plain_words_and_its_method_last(recipe: Recipe) -> None:
    lines = describe_recipe(Path("r"), recipe)
    plain = lines[: lines.index("  for researchers:")]
    for word in ("protocol", "taps", "exp(", "raw", "leave-one-out"):
        assert word not in "\n".join(plain)
    assert "learned by promptad (official protocol" in "\n".join(lines)


@pytest.mark.parametrize("taken", [False, True])
def test_a_proposed_threshold_is_relative_to_the_one_that_will_be_in_the_file(recipe: Recipe, taken: bool) -> None:
    now = recipe.header.thresholds
    after = recipe.with_thresholds(now.scaled_by(1.3))
    scores = np.array([now.image], np.float32)
    photos = BadPhotos(scores, 2 * scores, 1, 0, Separation(1.5 * now.image, 0, 0))
    told = "\n".join(describe_proposal(Path("r"), Recalibration(recipe, after, bad_photos=photos), taken))
    assert f"goodparts calibrate --recipe r --threshold {1.5 / 1.3 if taken else 1.5:.4g}" in told
