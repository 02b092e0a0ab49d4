"""Shots are the same on every machine; duplicate files and masks of a wrong size are reported."""

from __future__ import annotations

import hashlib
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from goodparts.evaluation.datasets import SHOT_COUNTS, check_split, choose_shots, find_duplicates, load_truth, open_data
from goodparts.evaluation.metrics.pixel import PixelTally
from goodparts.runtime.core.errors import SettingsError
from PIL import Image

DATA = Path(__file__).parents[3].parent / "shared" / "data"


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Twenty files. They are no pictures, because shots are drawn only by name and content."""
    paths = [tmp_path / f"{index:03}.png" for index in range(20)]
    for path in paths:
        path.write_text(path.name)
    return paths


def test_shots_are_nested_and_independent_of_order_and_place(photos: list[Path], tmp_path: Path) -> None:
    drawn = {count: choose_shots(photos, count, 0) for count in SHOT_COUNTS}
    assert [path.name for path in drawn[4].paths] == ["001.png", "007.png", "010.png", "011.png"]
    for fewer, more in pairwise(SHOT_COUNTS):
        assert set(drawn[fewer].paths) < set(drawn[more].paths)
    assert choose_shots(photos[::-1], 4, 0) == drawn[4]
    assert choose_shots(photos, 4, 1).paths != drawn[4].paths
    moved = Path(shutil.copytree(tmp_path, tmp_path / "moved"))
    assert choose_shots(sorted(moved.iterdir()), 4, 0).digest == drawn[4].digest


def test_manifest(photos: list[Path]) -> None:
    drawn = choose_shots(photos, 2, 3)
    lines = ""
    for path, shot in zip(drawn.paths, drawn.manifest, strict=True):
        assert (shot.name, shot.sha256) == (path.name, hashlib.sha256(path.read_bytes()).hexdigest())
        lines += f"{shot.sha256}  {shot.name}\n"
    assert drawn.digest == hashlib.sha256(lines.encode()).hexdigest()


def test_the_same_photo_is_drawn_once(photos: list[Path]) -> None:
    for path in photos[3:]:
        path.write_bytes(photos[0].read_bytes())
    assert len({path.read_bytes() for path in choose_shots(photos, 3, 0).paths}) == 3
    for count in (0, 4):
        with pytest.raises(SettingsError, match=f"{count} shots: there are 20 good photos; 1 to 3 can be drawn"):
            choose_shots(photos, count, 0)


def test_what_is_reported(tmp_path: Path) -> None:
    root = tmp_path / "nut"
    for index, name in enumerate(
        ("train/good/0", "train/good/1", "test/good/0", "test/cut/0", "ground_truth/cut/0_mask")
    ):
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10, 10), index, np.uint8)).save(path)
    split = open_data(root).split("nut")
    assert check_split(split) == []
    shutil.copy(split.train[1], split.test[1].path)
    Image.new("L", (5, 6)).save(split.test[0].masks[0])
    assert find_duplicates(split) == [(split.test[1].path, split.train[1])]
    twice, size = check_split(split)
    assert twice == f"nut: the same file (learned from and tested with): {split.test[1].path} = {split.train[1]}"
    assert "0_mask.png is 5×6 pixels, its photo" in size


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="the real photos are not beside the repository")
def test_real_photos_with_masks() -> None:
    """Count real masks of every kind; the brightness of each photo serves as its map."""
    data = open_data(DATA)
    assert set(data.categories) >= {"bottle", "kolektor_sdd", "leather", "magnetic_tile", "tire"}
    for category in data.categories:
        split = data.split(category)
        assert check_split(split) == []
        with PixelTally() as tally:
            for sample in split.test:
                truth = load_truth(sample)
                assert truth.mask.any() == sample.bad
                with Image.open(sample.path) as image:
                    grey = np.asarray(image.convert("L").resize((120, 120)), np.float32)
                tally.add(-grey, truth.resized(120, 120).mask)
            assert all(0 <= value <= 1 for value in tally.measure().values.values())
