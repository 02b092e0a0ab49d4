"""Resampling a camera frame to the encoder's square, compared with Pillow, OpenCV and the speed of the memory.

Pillow gets the frame as an image of its own, whose construction is not timed. Our resampling gives the same bytes.
OpenCV's area filter is its most similar filter. Its bicubic filter has no antialiasing and skips small details. The
floor is to read the pixels once, on one core. Our resampling and OpenCV use all cores.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable

import numpy as np
from goodparts.evaluation.report.report import Findings, describe_machine
from goodparts.runtime.core import native
from goodparts.runtime.core.errors import BackendError
from goodparts.runtime.core.preprocess import Array8
from PIL import Image

from .. import options
from ..synthetic import FRAME_SIZE, make_frame
from ..timing import REST, Timing, Worker, check_same, interleave

REPEAT = 50
SIDE = 240
"""The side of the encoder's square, in pixels."""
LARGE_FRAME = (2048, 2448)
CASES = {
    "2448×2048": (LARGE_FRAME, (0, 0, 2448, 2048)),
    "1280×1024": (FRAME_SIZE, (0, 0, 1280, 1024)),
    "640×480 of 2448×2048": (LARGE_FRAME, (801, 500, 640, 480)),
}
"""Height and width of the frame, and the box (x, y, width, height) that is cut out of it."""
AIM = 4.0
"""The aim for the first case, as a multiple of Pillow's speed."""
PILLOW, AREA, CUBIC, FLOOR = "Pillow", "OpenCV INTER_AREA", "OpenCV INTER_CUBIC", "numpy reading it, one core"

Box = tuple[int, int, int, int]
Call = Callable[[], Array8]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_repeat(parser, REPEAT)


def measure(*, repeat: int) -> Findings:
    findings = Findings()
    for name, (size, box) in CASES.items():
        timings = time_case(size, box, repeat)
        difference = np.abs(timings["ours"].results[0].astype(int) - timings[PILLOW].results[0])
        check_same(name, float(difference.max()), 0.0)
        ours = timings["ours"].median * 1e3
        for peer in list(timings)[1:]:
            suffix = "" if peer == PILLOW else f", beside {peer}"
            findings.add(f"{name}{suffix}", ours, "ms", peer, timings[peer].median * 1e3)
    if AREA not in timings:
        findings.remarks.append("OpenCV is not installed: it is left out")
    ratios = {row.name: row.ratio or 0.0 for row in findings.rows}
    for name in CASES:
        ratio = ratios[f"{name}, beside {FLOOR}"]
        findings.remarks.append(f"{name}: reading the pixels on one core takes {ratio:.0%} of that time")
    first = next(iter(CASES))
    name = f"{first} on {describe_machine().cores} cores, times Pillow's speed,"
    findings.aim(name, ratios[first], AIM, "", at_least=True)
    return findings


def time_case(size: tuple[int, int], box: Box, repeat: int) -> dict[str, Timing[Array8]]:
    """Time ours and each installed peer in turn, each in a process of its own.

    Args:
        size: The height and the width of the frame in pixels.
        box: x, y, width and height of the part that is cut out of it, in pixels.
        repeat: The number of timed rounds.

    Returns:
        The timed calls by contender. Ours is the first.

    Raises:
        BackendError: The C++ core cannot be loaded, or a process ended early.
    """
    with (
        Worker(resize_in_core, size, box) as ours,
        Worker(resize_in_pillow, size, box) as pillow,
        Worker(read_in_numpy, size, box) as floor,
    ):
        contenders = {"ours": ours, PILLOW: pillow, FLOOR: floor}
        if importlib.util.find_spec("cv2") is None:
            return interleave(contenders, repeat, warmup=3, settle=2, rest=REST)
        with Worker(resize_in_opencv, size, box, "AREA") as area, Worker(resize_in_opencv, size, box, "CUBIC") as cubic:
            contenders |= {AREA: area, CUBIC: cubic}
            return interleave(contenders, repeat, warmup=3, settle=2, rest=REST)


def cut(frame: Array8, box: Box) -> Array8:
    """Return the part of a frame in a box.

    Args:
        frame: The frame, uint8 RGB [H,W,3].
        box: x, y, width and height in pixels.
    """
    x, y, width, height = box
    return frame[y : y + height, x : x + width]


def resize_in_core(size: tuple[int, int], box: Box) -> Call:
    """Prepare our resampling, on all cores.

    Args:
        size: The height and the width of the frame in pixels.
        box: The part of the frame that is resampled.

    Returns:
        The call, whose result is uint8 RGB [SIDE,SIDE,3].

    Raises:
        BackendError: The C++ core cannot be loaded.
    """
    core = native.core()
    if core is None:
        raise BackendError("bench preprocess measures the C++ core, which cannot be loaded: see above")
    frame = make_frame(size)
    resize: Callable[..., Array8] = core.resize
    return lambda: resize(frame, (SIDE, SIDE), box)


def resize_in_pillow(size: tuple[int, int], box: Box) -> Call:
    """Prepare Pillow's resampling, which the package uses without the core, from an image of Pillow's own.

    Args:
        size: The height and the width of the frame in pixels.
        box: The part of the frame that is resampled.

    Returns:
        The call, whose result is uint8 RGB [SIDE,SIDE,3].
    """
    image = Image.fromarray(np.ascontiguousarray(cut(make_frame(size), box)))
    return lambda: np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def resize_in_opencv(size: tuple[int, int], box: Box, method: str) -> Call:
    """Prepare OpenCV's resampling, on all cores.

    Args:
        size: The height and the width of the frame in pixels.
        box: The part of the frame that is resampled.
        method: The filter, AREA or CUBIC.

    Returns:
        The call, whose result is uint8 RGB [SIDE,SIDE,3].
    """
    import cv2

    pixels, interpolation = cut(make_frame(size), box), getattr(cv2, f"INTER_{method}")
    return lambda: np.asarray(cv2.resize(pixels, (SIDE, SIDE), interpolation=interpolation))


def read_in_numpy(size: tuple[int, int], box: Box) -> Call:
    """Prepare the floor: to read all pixels and find the largest value.

    Args:
        size: The height and the width of the frame in pixels.
        box: The part of the frame that is read.

    Returns:
        The call, whose result is the largest value, uint8 [].
    """
    pixels = cut(make_frame(size), box)
    return lambda: np.asarray(pixels.max())
