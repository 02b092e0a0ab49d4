"""Frames in YUV."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from goodparts.runtime.core import native
from goodparts.runtime.core.errors import ImageError
from goodparts.runtime.core.preprocess import load_frame, load_rgb
from goodparts.runtime.core.yuv import YuvFormat, YuvFrame

from tests.cpp_ext.cuda.test_resize import as_rgb, draw


def drawn(form: YuvFormat, height: int = 22, width: int = 30) -> YuvFrame:
    return YuvFrame(draw(np.random.default_rng(0), height, width, form), form)


@pytest.mark.parametrize("form", get_args(YuvFormat))
@pytest.mark.parametrize("has_core", [True, False])
def test_a_frame_as_rgb(form: YuvFormat, has_core: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_core:
        monkeypatch.setattr(native, "core", lambda: None)
    frame = drawn(form)
    assert frame.shape == (22, 30)
    np.testing.assert_array_equal(load_rgb(frame), as_rgb(frame.pixels, form))
    assert load_frame(frame) is frame


@pytest.mark.parametrize("form", get_args(YuvFormat))
@pytest.mark.parametrize("box", [(0, 0, 30, 22), (3, 5, 9, 7), (28, 20, 2, 2), (7, 2, 8, 3)])
def test_a_part_has_the_frames_pixels(form: YuvFormat, box: tuple[int, int, int, int]) -> None:
    x, y, width, height = box
    part = drawn(form).crop(*box).rgb()[y % 2 :, x % 2 :][:height, :width]
    np.testing.assert_array_equal(part, drawn(form).rgb()[y : y + height, x : x + width])


@pytest.mark.parametrize(
    ("pixels", "form", "message"),
    [
        (np.zeros((9, 8), np.uint8), "i420", "format 'i420': nv12 and yuyv are accepted"),
        (
            np.zeros((10, 8), np.uint8),
            "nv12",
            r"uint8 \[10, 8\]: nv12 is uint8 \[H·3/2,W\] with even H and W",
        ),
        (np.zeros((8, 7, 2), np.uint8), "yuyv", r"pixels are uint8 \[8, 7, 2\]: yuyv is uint8 \[H,W,2\] with even W"),
        (np.zeros((12, 8)), "nv12", r"pixels are float64 \[12, 8\]"),
    ],
)
def test_pixels_of_another_layout_are_refused(pixels: np.ndarray, form: YuvFormat, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        YuvFrame(pixels, form)


def test_a_frame_that_is_too_small_is_refused() -> None:
    with pytest.raises(ImageError, match="picture is 30×6 pixels: at least 8×8"):
        load_frame(drawn("yuyv", height=6))
