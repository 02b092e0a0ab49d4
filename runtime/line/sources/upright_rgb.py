"""Decoded video frames as upright RGB, with the pixels that the ffmpeg program gives.

PyAV's own conversion takes every frame for BT.601 in some of the versions that goodparts accepts, and turns none.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import cast

import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

from ...core.preprocess import Array8

_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
"""Names in FFmpeg's scale filter of the colour matrices, by their numbers in ITU-T H.273."""
_RANGES = {1: "limited", 2: "full"}
_FormatKey = tuple[str, int, int, int, int]


class UprightRgb:
    """Converts the frames of one stream."""

    def __init__(self) -> None:
        self._format: _FormatKey | None = None
        self._graph: Graph | None = None

    def convert(self, frame: VideoFrame) -> Array8:
        """Return a frame as uint8 RGB [H,W,3], turned as its display matrix tells.

        The frame's own colour matrix and range are used; where it names none, those that FFmpeg takes for its format.
        """
        frame_format = (frame.format.name, frame.width, frame.height, int(frame.colorspace), int(frame.color_range))
        if self._graph is None or frame_format != self._format:
            self._graph, self._format = _make_graph(frame), frame_format
        self._graph.push(frame)
        converted = self._graph.pull()
        assert isinstance(converted, VideoFrame)
        return _turn(converted.to_ndarray().astype(np.uint8, copy=False), _display_matrix(frame))


def _make_graph(frame: VideoFrame) -> Graph:
    """Return the filters that convert frames like this one to RGB."""
    options = ["out_range=full", "threads=1"]  # each source has a thread of its own
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
    """Return how a frame is to be shown: the pixel at x, y belongs at a·x + c·y, b·x + d·y, as signs a, b, c, d."""
    for data in cast("Iterable[SideData]", frame.side_data):
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.sign(np.frombuffer(bytes(data), np.int32)[:5]).tolist()
            return a, b, c, d
    return 1, 0, 0, 1


def _turn(pixels: Array8, matrix: tuple[int, int, int, int]) -> Array8:
    """Return pixels [H,W,3] turned by quarters and mirrored; a matrix of any other kind changes nothing."""
    a, b, c, d = matrix
    if (b, c) == (0, 0):
        across, down = a, d
    elif (a, d) == (0, 0):
        pixels, across, down = pixels.transpose(1, 0, 2), c, b
    else:
        return pixels
    return np.ascontiguousarray(pixels[:: down or 1, :: across or 1])
