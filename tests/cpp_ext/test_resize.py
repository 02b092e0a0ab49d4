"""Resampling, compared with Pillow bit for bit.

For some shapes Pillow 13 resizes down before across, and earlier versions never do. So the tests let Pillow resize one
axis at a time.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from goodparts.runtime.core.preprocess import Array8
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from goodparts import _native

FORMATS = ("rgb", "bgr", "grey", "yuyv", "nv12")
INSTRUCTION_SETS = ("generic", "avx2", "avx512")
BICUBIC = Image.Resampling.BICUBIC

Box = tuple[int, int, int, int]
sides = st.integers(1, 90)
seeds = st.integers(0, 2**32 - 1)


def make(rng: np.random.Generator, height: int, width: int, format: str, gap: int = 0) -> Array8:
    """Return a frame with `gap` bytes between its rows. Half of its samples are 0 or 255."""
    height, width = even_size(height, width, format)
    rows, samples = (height * 3 // 2 if format == "nv12" else height), {"yuyv": 2, "rgb": 3, "bgr": 3}.get(format, 1)
    memory = rng.integers(0, 256, (rows, width * samples + gap), np.uint8)
    extreme = rng.integers(0, 2, memory.shape, np.uint8)
    memory[:, : width * samples // 2] = 255 * extreme[:, : width * samples // 2]
    frame = memory[:, : width * samples]
    return frame.reshape(rows, width, samples) if samples > 1 and not gap else strided(memory, width, samples)


def strided(memory: Array8, width: int, samples: int) -> Array8:
    if samples == 1:
        return memory[:, :width]
    shape, strides = (len(memory), width, samples), (memory.strides[0], samples, 1)
    return np.lib.stride_tricks.as_strided(memory, shape, strides)


def even_size(height: int, width: int, format: str) -> tuple[int, int]:
    return height + (height % 2 if format == "nv12" else 0), width + (width % 2 if format in ("nv12", "yuyv") else 0)


def to_rgb(frame: Array8, format: str) -> Array8:
    if format == "bgr":
        return frame[..., ::-1]
    if format == "grey":
        return np.repeat(frame[..., None], 3, axis=2)
    if format == "yuyv":
        return yuv_to_rgb(frame[..., 0], *(frame[:, first::2, 1].repeat(2, axis=1) for first in (0, 1)))
    if format == "nv12":
        height, width = len(frame) * 2 // 3, frame.shape[1]
        pairs = frame[height:].reshape(height // 2, width // 2, 2).repeat(2, axis=0).repeat(2, axis=1)
        return yuv_to_rgb(frame[:height], pairs[..., 0], pairs[..., 1])
    return frame


def yuv_to_rgb(luma: Array8, first: Array8, second: Array8) -> Array8:
    """Convert as BT.601 with limited range, in integers."""
    y, u, v = luma.astype(int) - 16, first.astype(int) - 128, second.astype(int) - 128
    channels = (298 * y + 409 * v, 298 * y - 100 * u - 208 * v, 298 * y + 516 * u)
    return np.stack([np.clip((channel + 128) >> 8, 0, 255) for channel in channels], axis=2).astype(np.uint8)


def expected(rgb: Array8, size: tuple[int, int], box: Box | None = None) -> Array8:
    x, y, width, height = box or (0, 0, rgb.shape[1], rgb.shape[0])
    image = Image.fromarray(np.ascontiguousarray(rgb[y : y + height, x : x + width]))
    return np.asarray(image.resize((size[1], height), BICUBIC).resize((size[1], size[0]), BICUBIC))


def check(frame: Array8, size: tuple[int, int], box: Box | None = None, format: str = "rgb", threads: int = 0) -> None:
    resized = _native.resize(frame, size, box, format, threads)
    assert resized.dtype == np.uint8
    np.testing.assert_array_equal(resized, expected(to_rgb(frame, format), size, box))


def check_many(seed: int, count: int) -> None:
    """Check frames and boxes of any size in every format, enlarged and reduced, some along one axis only."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        for format in FORMATS:
            height, width = even_size(*rng.integers(1, 150, 2).tolist(), format)
            x, y = int(rng.integers(width)), int(rng.integers(height))
            box = (x, y, int(rng.integers(1, width - x + 1)), int(rng.integers(1, height - y + 1)))
            size = [int(side) for side in rng.integers(1, 120, 2)]
            if number % 3:
                size[number % 3 - 1] = (box[3], box[2])[number % 3 - 1]
            frame = make(rng, height, width, format, gap=int(rng.integers(4)))
            check(frame, (size[0], size[1]), box, format, threads=int(rng.integers(3)))


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=150, deadline=None)
@given(sides, sides, sides, sides, st.integers(0, 5), st.integers(0, 3), seeds)
def test_any_size(
    format: str, height: int, width: int, new_height: int, new_width: int, gap: int, threads: int, seed: int
) -> None:
    frame = make(np.random.default_rng(seed), height, width, format, gap)
    check(frame, (new_height, new_width), None, format, threads)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=150, deadline=None)
@given(st.data(), sides, sides, sides, sides, seeds)
def test_any_crop(
    format: str, data: st.DataObject, height: int, width: int, new_height: int, new_width: int, seed: int
) -> None:
    frame = make(np.random.default_rng(seed), height, width, format, gap=3)
    height, width = even_size(height, width, format)
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = (x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y)))
    check(frame, (new_height, new_width), box, format)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=40, deadline=None)
@given(sides, sides, sides, seeds)
def test_an_axis_that_keeps_its_size_is_not_changed(format: str, height: int, width: int, new: int, seed: int) -> None:
    frame = make(np.random.default_rng(seed), height, width, format)
    height, width = even_size(height, width, format)
    check(frame, (height, new), None, format)
    check(frame, (new, width), None, format)
    np.testing.assert_array_equal(_native.resize(frame, (height, width), format=format), to_rgb(frame, format))


@pytest.mark.parametrize(
    ("height", "width", "size", "format"),
    [
        (2048, 2448, (240, 240), "rgb"),
        (3000, 4000, (336, 336), "bgr"),
        (2048, 2448, (240, 240), "grey"),
        (1080, 1920, (240, 240), "nv12"),
        (1080, 1920, (336, 336), "yuyv"),
        (60, 70, (1500, 1100), "rgb"),
        (3, 9000, (7, 5), "rgb"),
        (9000, 3, (5, 900), "rgb"),
        (1, 1, (300, 300), "rgb"),
    ],
)
@pytest.mark.parametrize("threads", [0, 1])
def test_frames_of_cameras(height: int, width: int, size: tuple[int, int], format: str, threads: int) -> None:
    check(make(np.random.default_rng(0), height, width, format, gap=8), size, None, format, threads)


def test_one_call_of_pillow_if_it_resizes_across_first() -> None:
    """For these shapes every version of Pillow does so."""
    rng = np.random.default_rng(1)
    for height, width, size in ((1024, 1280, (240, 240)), (2448, 2048, (240, 240)), (31, 57, (90, 80))):
        frame = make(rng, height, width, "rgb")
        np.testing.assert_array_equal(
            _native.resize(frame, size), np.asarray(Image.fromarray(frame).resize((size[1], size[0]), BICUBIC))
        )


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_every_instruction_set_of_this_processor(isa: str) -> None:
    """Run in a process of its own, because a process chooses its instruction set once."""
    program = """
from goodparts import _native
from tests.cpp_ext.test_resize import check_many
check_many(2, 100)
print(_native.isa())
"""
    environment = {**os.environ, "GOODPARTS_ISA": isa}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    used = done.stdout.strip()
    if used != isa:
        pytest.skip(f"this processor has no {isa}: {used} was tested")


@pytest.mark.parametrize("format", FORMATS)
def test_only_the_box_is_read(format: str) -> None:
    """Pixels outside the box do not change the result, except for chroma that they share with a pixel inside."""
    rng = np.random.default_rng(3)
    frame = make(rng, 40, 60, format)
    box = (6, 8, 20, 10)
    other = make(rng, 40, 60, format)
    luma = 40 if format == "nv12" else len(frame)
    other[:luma][8:18, 6:26] = frame[:luma][8:18, 6:26]
    other[luma:][4:9, 6:26] = frame[luma:][4:9, 6:26]
    np.testing.assert_array_equal(
        _native.resize(frame, (7, 33), box, format), _native.resize(other, (7, 33), box, format)
    )


def test_views_and_read_only_frames_are_accepted() -> None:
    frame = make(np.random.default_rng(4), 40, 50, "rgb")
    check(frame[5:30, 8:41], (12, 13))
    check(frame[::2], (12, 13))
    frame.flags.writeable = False
    check(frame, (12, 13))


RGB = np.zeros((20, 30, 3), np.uint8)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (None, {}, "frame is NoneType: a uint8 array"),
        ([[1]], {}, "frame is list: a uint8 array"),
        (RGB.astype(np.float32), {}, "frame is float32: uint8 is accepted"),
        (RGB.view(np.int8), {}, "frame is int8: uint8 is accepted"),
        (RGB, {"size": 5}, r"size is 5: integers \(height, width\) are accepted"),
        (RGB, {"size": (5.5, 6)}, r"size is \(5.5, 6\): integers"),
        (RGB, {"box": (1, 2, 3)}, r"box is \(1, 2, 3\): integers \(x, y, width, height\) are accepted"),
        (RGB, {"format": 3}, "format is 3: a str is accepted"),
        (RGB, {"threads": "two"}, "threads is 'two': an integer is accepted"),
    ],
)
def test_another_type_is_refused(frame: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message) as refused:
        _native.resize(frame, **{"size": (5, 6), **options})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (RGB[..., 0], {}, r"frame is \[20,30\]: \[H,W,3\] is accepted for format 'rgb'"),
        (RGB, {"format": "grey"}, r"frame is \[20,30,3\]: \[H,W\] is accepted for format 'grey'"),
        (RGB[..., 0], {"format": "grey"}, r"frame of \[20,30\] has strides \(90,3\): rows without gaps"),
        (RGB[:, ::2], {}, r"has strides \(90,6,1\): rows without gaps"),
        (RGB[::-1], {}, r"has strides \(-90,3,1\): rows without gaps"),
        (RGB[..., ::-1], {}, r"has strides \(90,3,-1\): rows without gaps"),
        (RGB[:0], {}, "frame is 30×0: 1 to 65535 pixels a side are accepted"),
        (np.zeros((1, 65536), np.uint8), {"format": "grey"}, "frame is 65536×1: 1 to 65535 pixels"),
        (RGB, {"size": (0, 6)}, "out is 6×0: 1 to 65535 pixels a side are accepted"),
        (RGB, {"size": (6, 65536)}, "out is 65536×6"),
        (RGB, {"box": (0, 0, 31, 20)}, r"box is 31×20 at \(0,0\): at least 1×1 inside the frame of 30×20 is accepted"),
        (RGB, {"box": (-1, 0, 3, 3)}, r"box is 3×3 at \(-1,0\)"),
        (RGB, {"box": (0, 0, 0, 3)}, r"box is 0×3 at \(0,0\)"),
        (RGB, {"box": (2**62, 0, 2**62, 3)}, "box is 4611686018427387904×3"),
        (RGB, {"format": "hsv"}, "format is 'hsv': rgb, bgr, grey, yuyv and nv12 are accepted"),
        (RGB, {"threads": -1}, r"threads is -1: 0 \(all processors\) or more is accepted"),
        (np.zeros((31, 20), np.uint8), {"format": "nv12"}, r"frame is \[31,20\]: \[H\*3/2,W\] is accepted"),
        (np.zeros((30, 21), np.uint8), {"format": "nv12"}, "frame is 21 pixels wide: .* an even width is accepted"),
        (np.zeros((9, 21, 2), np.uint8), {"format": "yuyv"}, "frame is 21 pixels wide: .* an even width is accepted"),
    ],
)
def test_another_value_is_refused(frame: Array8, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        _native.resize(frame, **{"size": (5, 6), **options})
    assert "\n" not in str(refused.value)


NO_THREADS = """
import resource
from pathlib import Path
import numpy as np
from goodparts import _native

frame = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
expected = _native.resize(frame, (60, 80), threads=1)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, resource.RLIM_INFINITY))  # too little for a thread's stack
seen = _native.resize(frame, (60, 80), threads=2)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(np.array_equal(seen, expected), sum(1 for _ in Path("/proc/self/task").iterdir()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as only Linux can")
def test_if_no_thread_can_be_started_the_calling_thread_does_the_work() -> None:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    seen = subprocess.run([sys.executable, "-c", NO_THREADS], env=environment, capture_output=True, text=True)
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout.split() == ["True", "1"]
