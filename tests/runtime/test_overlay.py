from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from goodparts.runtime.core.image_files import is_drawing
from goodparts.runtime.core.preprocess import load_rgb
from goodparts.runtime.overlay import LONGEST_SIDE, draw_overlay, heat, outlines, to_png
from PIL import Image, ImageFilter

from goodparts import Detector


def test_heat_is_invisible_below_half_the_threshold_and_rises() -> None:
    scores = np.array([[0.0, 0.5, 0.7, 1.0, 2.0, 9.0]], np.float32)
    _, alpha = heat(scores, threshold=1.0)
    assert alpha[0, 0] == alpha[0, 1] == 0
    assert (np.diff(alpha[0, 1:5].astype(int)) > 0).all()
    assert alpha[0, 4] == alpha[0, 5]


def test_outlines_are_whole_pixels_around_a_mask_and_leave_it_free() -> None:
    mask = np.random.default_rng(0).random((40, 30)) > 0.97
    inside = Image.fromarray(mask.astype(np.uint8) * 255)
    white = inside.filter(ImageFilter.MaxFilter(5))
    black = white.filter(ImageFilter.MaxFilter(3))
    for (ring, _), grown in zip(outlines(mask), (black, white), strict=True):
        np.testing.assert_array_equal(np.asarray(ring), (np.asarray(grown) > 0) & ~mask)


def test_a_suspicious_place_is_marked_and_a_large_photo_is_shown_smaller(
    engine_folder: Path, recipe_file: Path, photos: Path
) -> None:
    detector = Detector.open(engine_folder, recipe_file)
    frame = np.tile(load_rgb(photos / "bad" / "4.png"), (8, 8, 1))
    detector.thresholds = msgspec.structs.replace(detector.thresholds, pixel=1e-4)
    marked = draw_overlay(frame, detector.predict(frame))
    detector.thresholds = msgspec.structs.replace(detector.thresholds, pixel=1.0)
    plain = draw_overlay(frame, detector.predict(frame))
    assert marked.size == plain.size
    assert marked.width == LONGEST_SIDE
    assert np.abs(np.asarray(marked, int) - np.asarray(plain, int)).mean() > 5


def test_a_drawing_as_png_is_distinguished_from_a_photo(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 3), (1, 2, 3))
    (tmp_path / "drawing.png").write_bytes(to_png(picture))
    picture.save(tmp_path / "photo.png")
    assert [is_drawing(tmp_path / name) for name in ("drawing.png", "photo.png")] == [True, False]
    with Image.open(tmp_path / "drawing.png") as drawing:
        assert drawing.tobytes() == picture.tobytes()
