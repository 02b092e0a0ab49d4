"""The accuracy benchmark runs in a small size. The results in full size are in benchmarks/results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.benchmarks.studies import accuracy, products, tiles
from goodparts.runtime.core.errors import ImageError, SettingsError
from goodparts.trainer.promptad.learner import PromptLearner, Prototypes
from PIL import Image


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with a product in MVTec's layout: 2 photos to learn from, 2 good and 2 bad ones to test with."""
    drawn = products.draw_product("gear", 7, 64, pool=2, good=2, bad=2)
    places = ["train/good"] * 2 + ["test/good"] * 2 + ["test/scratch"] * 2
    for index, (place, image) in enumerate(zip(places, [*drawn.pool, *drawn.tests], strict=True)):
        path = tmp_path / "round_gear" / place / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        if place == "test/scratch":
            mask = tmp_path / "round_gear" / "ground_truth" / "scratch" / f"{index}_mask.png"
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.masks[index - 2]).save(mask)
    return tmp_path


def learn_in_a_step(learner: PromptLearner) -> Prototypes:
    learner.step()
    return learner.prototypes()


def test_every_table_has_its_rows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small: dict[str, object] = {
        "LINES": 1,
        "POOL": 2,
        "GOOD": 2,
        "BAD": 2,
        "SHOTS": 2,
        "SHOT_COUNTS": (1, 2),
    }
    for name, value in small.items():
        monkeypatch.setattr(accuracy, name, value)
    monkeypatch.setattr(products, "HELD_OUT_KINDS", ("gear",))
    monkeypatch.setattr(PromptLearner, "learn", learn_in_a_step)
    rows = {row.name: row for row in accuracy.measure(data=root).rows}
    for name in ("drawn gear", "round_gear"):
        assert rows[f"{name}, memory: image"].peer == "random weights"
        for fusion in ("prompt", "paper", "residual"):
            for temperature in ("4.6", "100", "own"):
                assert 0 <= rows[f"{name}, {fusion}, t {temperature}: pixel"].value <= 1
        for shots in (1, 2):
            assert 0 <= rows[f"{name}, {shots} shots, at 1%: good rejected"].value <= 1


def test_tiles_are_compared_with_the_whole_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"FRAME": (128, 256), "TILINGS": ((1, 1), (1, 2)), "SHOTS": (2,), "FRAMES": 2, "HELD_OUT_KINDS": ("gear",)}
    for name, value in small.items():
        monkeypatch.setattr(tiles, name, value)
    monkeypatch.setattr(PromptLearner, "learn", learn_in_a_step)
    rows = {row.name: row for row in tiles.measure().rows}
    for branch in ("", "memory only, ", "prompts only, "):
        row = rows[f"gear, 2 shots, 1×2 tiles: {branch}image AUROC"]
        assert 0 <= row.value <= 1
        assert row.peer == "without tiles"


def test_a_map_shows_a_defect_only_near_it() -> None:
    mask = np.zeros((1000, 2000), bool)
    mask[500:520, 1000:1020] = True
    scores = np.zeros((100, 200), np.float32)
    scores[50, 105] = 1.0  # 35 pixels to the right of the defect
    assert tiles.peaks_at(scores, mask)
    scores[50, 107] = 2.0  # 55 pixels to the right
    assert not tiles.peaks_at(scores, mask)


def test_folders_are_read_as_they_are_drawn(root: Path) -> None:
    loaded = products.load_product(root / "round_gear", 64)
    drawn = products.draw_product("gear", 7, 64, pool=2, good=2, bad=2)
    assert loaded.text == "round gear"
    np.testing.assert_array_equal(loaded.tests, drawn.tests)
    np.testing.assert_array_equal(loaded.masks, drawn.masks)
    assert loaded.bad.tolist() == [False, False, True, True]


def test_an_error_tells_what_is_wrong_with_a_folder(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no folder in it has train/good"):
        products.find_products(tmp_path / "round_gear")
    next((root / "round_gear" / "ground_truth" / "scratch").iterdir()).unlink()
    with pytest.raises(ImageError, match="0 masks in .*scratch, exactly one is needed"):
        products.load_product(root / "round_gear", 64)
