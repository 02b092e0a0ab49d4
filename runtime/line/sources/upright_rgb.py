"""Converts decoded video frames to upright RGB, with the same pixels as the ffmpeg program gives.

PyAV's own conversion treats every frame as BT.601 in some of the versions that goodparts accepts, and turns no frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, cast

import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from ...core.preprocess import Array8
from ...core.yuv import YuvFrame

_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
"""Names of colour matrices in FFmpeg's scale filter, by their numbers in ITU-T H.273."""
_RANGES = {1: "limited", 2: "full"}
"""Names of colour ranges in FFmpeg's scale filter, by FFmpeg's numbers."""
_READ_MATRICES, _READ_RANGES = (2, 5, 6), (0, 1)
"""Matrices and ranges that the kernels of a GPU read: BT.601 in limited range, also assumed if none is named."""
_FormatKey = tuple[str, int, int, int, int]


class UprightRgb:
    """Converts the frames of one stream."""

    def __init__(self) -> None:
        self._format: _FormatKey | None = None
        self._graph: Graph | None = None

    def convert(self, frame: VideoFrame) -> Array8:
        """Return a frame as uint8 RGB [H,W,3], turned according to its display matrix.

        The conversion uses the frame's own colour matrix and range. If it names none, FFmpeg's defaults for its format
        apply.

        Args:
            frame: The decoded frame, in any pixel format of FFmpeg.
        """
        frame_format = (frame.format.name, frame.width, frame.height, int(frame.colorspace), int(frame.color_range))
        if self._graph is None or frame_format != self._format:
            self._graph, self._format = _make_graph(frame), frame_format
        self._graph.push(frame)
        converted = self._graph.pull()
        assert isinstance(converted, VideoFrame)
        return _turn(converted.to_ndarray().astype(np.uint8, copy=False), _display_matrix(frame))


def to_yuv(frame: VideoFrame) -> YuvFrame | None:
    """Return a frame in a form that the kernels of a GPU read; None if they would convert it differently.

    The kernels read BT.601 in limited range, which is also FFmpeg's default, and turn no frame.

    Args:
        frame: The decoded frame, in any pixel format of FFmpeg.
    """
    is_as_read = int(frame.colorspace) in _READ_MATRICES and int(frame.color_range) in _READ_RANGES
    if not is_as_read or _display_matrix(frame) != (1, 0, 0, 1) or frame.width % 2 or frame.height % 2:
        return None
    height, name = frame.height, frame.format.name
    if name == "yuyv422":
        return YuvFrame(_plane(frame.planes[0], height).reshape(height, -1, 2)[:, : frame.width], "yuyv")
    if name == "nv12":
        parts = [_plane(frame.planes[0], height), _plane(frame.planes[1], height // 2)]
        return YuvFrame(np.concatenate([part[:, : frame.width] for part in parts]), "nv12")
    if name == "yuv420p":
        pixels = np.empty((height * 3 // 2, frame.width), np.uint8)
        pixels[:height] = _plane(frame.planes[0], height)[:, : frame.width]
        for at in (0, 1):
            pixels[height:, at::2] = _plane(frame.planes[1 + at], height // 2)[:, : frame.width // 2]
        return YuvFrame(pixels, "nv12")
    return None


def _plane(plane: VideoPlane, rows: int) -> Array8:
    """Return a copy of a plane's bytes, uint8 [rows,bytes of a row], because the decoder reuses its memory."""
    pixels = np.frombuffer(memoryview(cast("Any", plane)), np.uint8)
    copied: Array8 = pixels.reshape(-1, plane.line_size)[:rows].copy()
    return copied


def _make_graph(frame: VideoFrame) -> Graph:
    """Return the filters that convert frames like this one to RGB."""
    options = ["out_range=full", "threads=1"]  # each source has its own thread
    if matrix := _MATRICES.get(int(frame.colorspace)):
        options.append(f"in_color_matrix={matrix}")
    if colour_range := _RANGES.get(int(frame.color_range)):
        options.append(f"in_range={colour_range}")
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    scale = graph.add("scale", ":".join(options))
    rgb = graph.add("format", "pix_fmts=rgb24")
    source.link_to(scale)
    scale.link_to(rgb)
    rgb.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """Return the signs a, b, c, d of a frame's display matrix; it moves a pixel from x, y to a·x + c·y, b·x + d·y."""
    try:
        side_data = [*cast("Iterable[SideData]", frame.side_data)]
    except ValueError:  # PyAV does not know one of the types, as with a TIFF file
        side_data = []
    for data in side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.sign(np.frombuffer(bytes(data), np.int32)[:5]).tolist()
            return a, b, c, d
    return 1, 0, 0, 1


def _turn(pixels: Array8, matrix: tuple[int, int, int, int]) -> Array8:
    """Return pixels [H,W,3] turned by quarters and mirrored. Any other kind of matrix changes nothing."""
    a, b, c, d = matrix
    if (b, c) == (0, 0):
        across, down = a, d
    elif (a, d) == (0, 0):
        pixels, across, down = pixels.transpose(1, 0, 2), c, b
    else:
        return pixels
    return np.ascontiguousarray(pixels[:: down or 1, :: across or 1])
