"""A line reports a changed scene once, and scores that drift."""

from __future__ import annotations

import math

import numpy as np
import pytest
from goodparts.runtime.core.scene import SceneChange
from goodparts.runtime.core.view import View
from goodparts.runtime.inspection import Inspection
from goodparts.runtime.line.scene_watch import DRIFT_FRAMES, SceneWatch
from goodparts.runtime.recipe.calibrate import Level
from goodparts.runtime.recipe.header import Thresholds

LEVEL = Level((1.0,) * 40, 0.0, 0.2)
"""The scores of 40 photos, 1 ± 20 %."""
DARKER = SceneChange("darker", "it is dark")


def inspected(score: float = 1.0, scene: SceneChange | None = None, recipe: str = "a") -> Inspection:
    """Return an inspection with a recipe that rejects from a raw score of 2."""
    return Inspection(
        raw_score=score, thresholds=Thresholds(image=2.0, pixel=2.0),
        grids=np.zeros((1, 2, 2), np.float32), view=View(), frame=(64, 64), milliseconds={}, recipe=recipe, graph="",
        backend="", scene=scene,
    )  # fmt: skip


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def watch(messages: list[str]) -> SceneWatch:
    return SceneWatch("left", messages.append)


def note(watch: SceneWatch, *inspections: Inspection, level: Level = LEVEL) -> None:
    for inspection in inspections:
        watch.note(inspection, level)


def test_one_odd_frame_is_counted_but_does_not_change_the_scene(watch: SceneWatch, messages: list[str]) -> None:
    note(watch, inspected(), inspected(scene=DARKER), *[inspected()] * 5)
    assert (watch.change, messages, watch.counts()["darker"]) == (None, [], 1)


def test_a_scene_that_stays_changed_is_reported_once_and_so_is_its_return(
    watch: SceneWatch, messages: list[str]
) -> None:
    note(watch, *[inspected(scene=DARKER)] * 9)
    assert watch.change == DARKER
    assert messages == ["left: the scene has changed: it is dark"]
    note(watch, *[inspected()] * 5)
    assert watch.change is None
    assert messages[1:] == ["left: the scene is the learned one again"]


def test_drift_is_reported_with_its_size_and_a_remedy_and_ends(watch: SceneWatch, messages: list[str]) -> None:
    note(watch, *[inspected(1.0)] * DRIFT_FRAMES)
    assert watch.ratio == pytest.approx(1.0)
    assert watch.drift is None
    note(watch, *[inspected(1.6)] * DRIFT_FRAMES)
    assert watch.ratio == pytest.approx(1.6)
    assert watch.drift is not None
    assert messages == [f"left: {watch.drift}"]
    assert "1.6 times" in messages[0]
    assert "clean the lens" in messages[0]
    note(watch, *[inspected(1.0)] * DRIFT_FRAMES)
    assert watch.drift is None
    assert len(messages) == 2


def test_parts_of_which_a_few_are_bad_do_not_drift(watch: SceneWatch) -> None:
    rng = np.random.default_rng(0)
    scores = np.exp(0.2 * rng.standard_normal(400)) * np.where(rng.random(400) < 0.05, 5.0, 1.0)
    drifts = []
    for score in scores:
        watch.note(inspected(float(score)), LEVEL)
        drifts.append(watch.drift)
    assert set(drifts) == {None}


def test_with_few_photos_only_large_drifts_are_found(watch: SceneWatch) -> None:
    few = [math.exp(2.5 * 0.2 * math.sqrt(1 / 2 + math.pi / 2 / DRIFT_FRAMES)) * factor for factor in (0.99, 1.01)]
    level = Level((1.0, 1.0), 0.0, 0.2)
    note(watch, *[inspected(few[0])] * DRIFT_FRAMES, level=level)
    assert watch.drift is None
    note(watch, *[inspected(few[1])] * DRIFT_FRAMES, level=level)
    assert watch.drift is not None


def test_frames_of_another_scene_do_not_count_and_another_recipe_begins_anew(watch: SceneWatch) -> None:
    note(watch, *[inspected(1.9, DARKER)] * DRIFT_FRAMES)
    assert watch.ratio is None
    note(watch, *[inspected(1.9)] * DRIFT_FRAMES)
    assert watch.drift is not None
    note(watch, inspected(1.9, recipe="b"))
    assert (watch.drift, watch.ratio, watch.change) == (None, None, None)
