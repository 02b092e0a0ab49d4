from __future__ import annotations

import numpy as np
import pytest
from goodparts.runtime.errors import SettingsError
from goodparts.runtime.preprocess import resize
from goodparts.runtime.view import PADDING, Box, View

FRAME = np.random.default_rng(0).integers(0, 256, (60, 120, 3), np.uint8)


def test_squash_fills_the_square() -> None:
    np.testing.assert_array_equal(View().cut(FRAME, 32)[0], resize(FRAME, (32, 32)))


def test_region_is_what_is_resized() -> None:
    view = View(roi=Box(30, 10, 40, 20))
    np.testing.assert_array_equal(view.cut(FRAME, 32)[0], resize(FRAME[10:30, 30:70], (32, 32)))


def test_letterbox_keeps_the_aspect_ratio_and_pads() -> None:
    square = View(resize="letterbox").cut(FRAME, 32)[0]
    np.testing.assert_array_equal(square[8:24], resize(FRAME, (16, 32)))
    assert (square[:8] == PADDING).all()
    assert (square[24:] == PADDING).all()
    assert View(resize="letterbox").window(Box(0, 0, 120, 60), 32) == (0.0, 0.25, 1.0, 0.75)


@pytest.mark.parametrize("box", [(-1, 0, 10, 10), (0, 0, 121, 10), (0, 55, 10, 10), (0, 0, 0, 5)])
def test_a_region_outside_the_frame_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(SettingsError, match="does not lie inside a 120×60 frame"):
        View(roi=Box(*box)).cut(FRAME, 32)
