from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.line.sources.upright_rgb import UprightRgb, to_yuv

from tests.runtime.conftest import FRAMES

ONE = 1 << 16
UPRIGHT = (ONE, 0, 0, ONE)
TURNS = {
    "0": UPRIGHT,
    "90": (0, -ONE, ONE, 0),
    "180": (-ONE, 0, 0, -ONE),
    "270": (0, ONE, -ONE, 0),
    "0, mirrored": (-ONE, 0, 0, ONE),
    "90, mirrored": (0, -ONE, -ONE, 0),
    "180, mirrored": (ONE, 0, 0, -ONE),
    "270, mirrored": (0, ONE, ONE, 0),
}
"""a, b, c and d of a display matrix: the pixel at x, y is shown at a·x + c·y, b·x + d·y."""
SHOWN = {
    "0": lambda pixels: pixels,
    "90": lambda pixels: np.rot90(pixels, 1),
    "180": lambda pixels: np.rot90(pixels, 2),
    "270": lambda pixels: np.rot90(pixels, 3),
    "0, mirrored": lambda pixels: pixels[:, ::-1],
    "90, mirrored": lambda pixels: np.rot90(pixels, 1)[:, ::-1],
    "180, mirrored": lambda pixels: np.rot90(pixels, 2)[:, ::-1],
    "270, mirrored": lambda pixels: np.rot90(pixels, 3)[:, ::-1],
}
"""The picture that a player shows: turned counter-clockwise, then mirrored."""


def convert_first(path: Path) -> Array8:
    with av.open(str(path)) as container:
        return UprightRgb().convert(next(container.decode(video=0)))


@pytest.mark.parametrize("turn", TURNS)
def test_a_frame_is_turned_according_to_its_display_matrix(recording: Path, tmp_path: Path, turn: str) -> None:
    upright = convert_first(recording)
    data = recording.read_bytes()
    entries = np.zeros(9, ">i4")
    entries[[0, 4]], entries[8] = ONE, 1 << 30
    place = data.index(entries.tobytes(), data.index(b"tkhd"))
    entries[[0, 1, 3, 4]] = TURNS[turn]
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data[:place] + entries.tobytes() + data[place + 36 :])
    np.testing.assert_array_equal(convert_first(turned), SHOWN[turn](upright))


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize(
    ("number", "red_part", "blue_part"),
    [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (6, 0.299, 0.114), (9, 0.2627, 0.0593), (2, 0.299, 0.114)],
    ids=["BT.709", "BT.601", "SMPTE 170M", "BT.2020", "unspecified"],
)
def test_colours_are_converted_by_the_frame_s_own_matrix_and_range(
    number: int, red_part: float, blue_part: float, full: bool
) -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (8, 16, 3)).repeat(8, 0).repeat(8, 1)
    red, green, blue = np.moveaxis(rgb / 255.0, 2, 0)
    luma = red_part * red + (1 - red_part - blue_part) * green + blue_part * blue
    chroma = np.stack([(blue - luma) / (2 - 2 * blue_part), (red - luma) / (2 - 2 * red_part)])
    planes = [255 * luma, *(128 + 255 * chroma)] if full else [16 + 219 * luma, *(128 + 224 * chroma)]
    frame = av.VideoFrame.from_ndarray(np.stack(planes).round().clip(0, 255).astype(np.uint8), format="yuv444p")
    frame.colorspace, frame.color_range = number, 2 if full else 1
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    difference = UprightRgb().convert(frame).astype(int) - rgb
    assert np.abs(difference).max() <= 3  # both directions are rounded


def test_a_stream_whose_size_changes_is_converted_on(recording: Path) -> None:
    converter = UprightRgb()
    with av.open(str(recording)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == FRAMES
    assert converter.convert(frames[0]).shape == (240, 320, 3)
    assert converter.convert(frames[1].reformat(width=64, height=48)).shape == (48, 64, 3)
    assert converter.convert(frames[2]).shape == (240, 320, 3)


def smooth_frame(form: str, width: int = 64, height: int = 48) -> av.VideoFrame:
    """Return a frame whose colours change slowly, so that the interpolation of colours hardly matters."""
    y, x = np.mgrid[0:height, 0:width]
    colours = np.stack([40 + 2 * x, 60 + 2 * y, 200 - x - y], axis=2).astype(np.uint8)
    return av.VideoFrame.from_ndarray(colours, format="rgb24").reformat(format=form)


@pytest.mark.parametrize("form", ["yuv420p", "nv12", "yuyv422"])
def test_a_frame_in_yuv_shows_the_same_as_in_rgb(form: str) -> None:
    frame = smooth_frame(form)
    yuv = to_yuv(frame)
    assert yuv is not None
    assert yuv.shape == (48, 64)
    difference = yuv.rgb().astype(np.int32) - UprightRgb().convert(frame)
    assert np.abs(difference).max() <= 4  # the kernels repeat colours, FFmpeg may interpolate them


def test_a_frame_that_the_kernels_would_convert_differently_stays_rgb() -> None:
    for form in ("yuvj420p", "yuv444p", "rgb24"):
        assert to_yuv(smooth_frame(form)) is None
    assert to_yuv(smooth_frame("yuv420p", width=62, height=47)) is None
    for name, value in (("colorspace", 1), ("color_range", 2)):
        frame = smooth_frame("yuv420p")
        setattr(frame, name, value)
        assert to_yuv(frame) is None
