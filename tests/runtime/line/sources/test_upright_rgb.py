from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.line.sources.upright_rgb import UprightRgb

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
"""What a player shows: counter-clockwise turns, then the mirror."""


def convert_first(path: Path) -> Array8:
    with av.open(str(path)) as container:
        return UprightRgb().convert(next(container.decode(video=0)))


@pytest.mark.parametrize("turn", TURNS)
def test_a_frame_is_turned_as_its_display_matrix_tells(recording: Path, tmp_path: Path, turn: str) -> None:
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
