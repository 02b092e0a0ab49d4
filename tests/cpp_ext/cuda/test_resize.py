"""Preprocessing on the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.cpp_ext.cuda.devices import FORMATS, Array, Device, OnCpu, OnGpu


def as_rgb(frame: Array, form: str) -> Array:
    if form == "rgb":
        return frame
    if form == "bgr":
        return frame[:, :, ::-1]
    if form == "grey":
        return np.repeat(frame[:, :, None], 3, axis=2)
    if form == "nv12":
        height = len(frame) * 2 // 3
        luma = frame[:height]
        chroma = frame[height:].reshape(height // 2, -1, 2).repeat(2, axis=0).repeat(2, axis=1)
    else:
        luma = frame[:, :, 0]
        chroma = frame[:, :, 1].reshape(len(frame), -1, 2).repeat(2, axis=1)
    y = 298 * (luma.astype(np.int32) - 16) + 128
    u, v = (chroma[..., at].astype(np.int32) - 128 for at in (0, 1))
    return np.clip(np.stack([y + 409 * v, y - 100 * u - 208 * v, y + 516 * u], axis=2) >> 8, 0, 255).astype(np.uint8)


def draw(rng: np.random.Generator, height: int, width: int, form: str) -> Array:
    shapes = {"rgb": (height, width, 3), "bgr": (height, width, 3), "grey": (height, width)}
    shapes |= {"nv12": (height * 3 // 2, width), "yuyv": (height, width, 2)}
    noise = rng.integers(0, 2, shapes[form]) * 255  # the hardest picture for a filter that overshoots
    return np.where(rng.random(shapes[form]) < 0.5, noise, rng.integers(0, 256, shapes[form])).astype(np.uint8)


def check_resize(device: Device, frame: Array, size: tuple[int, int], box: Sequence[int] | None, form: str) -> None:
    rgb = as_rgb(frame, form)
    if box is not None:
        rgb = rgb[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]
    pillow = Image.fromarray(np.ascontiguousarray(rgb))
    # For some shapes Pillow 13 resizes down before across, and earlier versions never do. So resize one axis at a time.
    for shape in ((size[1], len(rgb)), (size[1], size[0])):
        pillow = pillow.resize(shape, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(device.resize(frame, size, box, form), np.asarray(pillow))


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from(FORMATS),
    st.integers(0, 2**32 - 1),
)
def test_pillows_bytes(device: Device, frame: tuple[int, int], size: tuple[int, int], form: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = 2 * frame[0], 2 * frame[1]
    left, top = rng.integers(0, width), rng.integers(0, height)
    box = (int(left), int(top), int(rng.integers(1, width - left + 1)), int(rng.integers(1, height - top + 1)))
    check_resize(device, draw(rng, height, width, form), size, None if seed % 3 == 0 else box, form)


def test_more_than_a_strip_or_a_band(device: Device) -> None:
    rng = np.random.default_rng(10)
    check_resize(device, draw(rng, 20, 1500, "rgb"), (9, 33), None, "rgb")
    check_resize(device, draw(rng, 1500, 20, "grey"), (20, 5), None, "grey")
    check_resize(device, draw(rng, 2400, 4, "yuyv"), (20, 4), None, "yuyv")  # more shared memory than is usual


def test_a_cameras_frame(on_gpu: OnGpu) -> None:
    rng = np.random.default_rng(11)
    for form in FORMATS:
        check_resize(on_gpu, draw(rng, 2048, 2448, form), (240, 240), (100, 50, 2200, 1900), form)


def test_what_cannot_be_resized(on_cpu: OnCpu) -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="box is 8×8 at"):
        on_cpu.resize(frame, (4, 4), (1, 0, 8, 8), "rgb")
    with pytest.raises(ValueError, match="out is 4×0"):
        on_cpu.resize(frame, (0, 4), None, "rgb")
    with pytest.raises(ValueError, match="7 pixels wide: two pixels share their chroma"):
        on_cpu.resize(np.zeros((6, 7), np.uint8), (4, 4), None, "nv12")
    with pytest.raises(ValueError, match="too many times smaller"):
        on_cpu.resize(np.zeros((3000, 2), np.uint8), (1, 2), None, "grey")
