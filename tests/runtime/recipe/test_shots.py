"""Photos to learn from: read once, cut at every size that a method asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.preprocess import load_rgb
from goodparts.runtime.core.view import Box, View
from goodparts.runtime.recipe import shots
from goodparts.runtime.recipe.shots import choose_shots, load_shots


def test_a_photo_is_decoded_once_and_cut_at_every_side(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = shots.decode
    monkeypatch.setattr(shots, "decode", lambda data, name: decoded.append(name) or decode(data, name))
    paths, view = sorted((photos / "good").iterdir()), View(tiles=(1, 2))
    loaded = load_shots(paths, view, (64, 128))
    assert decoded == [str(path) for path in paths]
    assert [shot.name for shot in loaded.manifest] == ["1.png", "2.png", "3.png"]
    for side in (64, 128):
        expected = np.concatenate([view.cut(load_rgb(path), side) for path in paths])
        np.testing.assert_array_equal(loaded.views[side], expected)


def test_a_photo_that_the_view_does_not_fit_is_named(photos: Path) -> None:
    with pytest.raises(SettingsError, match=r"1.png: region 0,0,900,900 does not lie inside a 320×240 frame"):
        load_shots([photos / "good" / "1.png"], View(roi=Box(0, 0, 900, 900)), (64,))


def test_an_empty_list_of_photos_is_refused() -> None:
    with pytest.raises(SettingsError, match="no photo to learn from: give a photo of a good part"):
        choose_shots([], None)


@pytest.mark.parametrize("good", ["good", "Good", "train/good"])
def test_a_folder_that_also_holds_bad_parts_is_refused_with_its_folder_of_good_ones(tmp_path: Path, good: str) -> None:
    for name in (f"{good}/1.png", "bad/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    with pytest.raises(SettingsError, match=f"has a folder {good}: give {tmp_path / good}, so that no bad part"):
        choose_shots([tmp_path], None)
    assert choose_shots([tmp_path / good], None) == [tmp_path / good / "1.png"]
