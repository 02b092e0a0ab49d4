"""Scoring on the GPU: frames are uploaded, and only their scores are downloaded, with their views if requested."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import native
from ..core.conditions import Conditions
from ..core.preprocess import Array8
from ..core.scorer import Search, kernel_arguments, with_image_maximum
from ..core.scoring import Branches, Learned, Scores
from ..core.view import Box, View
from ..core.yuv import YuvFrame
from .device_array import DeviceArray
from .session import DeviceSession, Session
from .tensors import split_outputs

_PRECISIONS = {"fp32": "fp16", "bf16": "bf16", "int8": "int8"}
"""Search precision → the precision that the GPU searches in. Recipes store rows in fp16, so fp32 would add nothing."""

_IS_GRID = (False, True, False, False, True, True, True)
"""Whether each array of scores (image, grid, the five branches) has a value for every patch, and not only for every
view.
"""


def open_gpu_scorer(
    session: Session,
    learned: Learned,
    grid: tuple[int, int],
    view: View,
    search: Search,
    conditions: Conditions | None = None,
    *,
    keep_views: bool = True,
) -> GpuScorer | None:
    """Return a scorer whose frames stay on the GPU.

    Return None if the graph does not run on a GPU, if the C++ core has no CUDA kernels here, or if the recipe uses a
    subspace.

    Args:
        session: The open graph.
        learned: The product.
        grid: Rows and columns of patches in a view.
        view: How frames are cut into views.
        search: How the memory is searched. Only its precision is used.
        conditions: The product's conditions; None for the plain graph.
        keep_views: Whether the scorer returns the views with the scores.
    """
    cuda = native.cuda()
    if cuda is None or not isinstance(session, DeviceSession) or learned.fusion == "subspace":
        return None
    return GpuScorer(session, cuda, learned, grid, view, search, conditions, keep_views)


class GpuScorer:
    """A function from the frames of one product to scores. It uses an open graph and the CUDA kernels of the C++ core.

    By default its scores differ from those of scoring.score by about 1e-4, because the memory is multiplied in fp16. A
    recall below 1 has no effect: every row is searched.

    After the first frame of a size, each further frame costs an upload of its region, launches, one download and one
    wait for it. Some libraries wait in a launch too.

    Args:
        session: The open graph.
        cuda: The C++ core's code for GPUs (native.cuda).
        learned: The product.
        grid: Rows and columns of patches in a view.
        view: How frames are cut into views.
        search: How the memory is searched. Only its precision is used.
        conditions: The product's conditions; None for the plain graph.
        keep_views: Whether to return the views with the scores.
    """

    def __init__(
        self, session: DeviceSession, cuda: Any, learned: Learned, grid: tuple[int, int], view: View, search: Search,
        conditions: Conditions | None, keep_views: bool,
    ) -> None:  # fmt: skip
        self._session, self._cuda, self._view, self._grid = session, cuda, view, grid
        self._learned, self._conditions, self._keep_views = learned, conditions, keep_views
        with session.turn():
            banks = [cuda.Bank(rows.shape[1], _PRECISIONS[search.precision]) for rows in learned.banks]
            for bank, rows in zip(banks, learned.banks, strict=True):
                bank.append(rows)
            self._scorer = cuda.Scorer(*kernel_arguments(learned, banks, learned.margins, grid), session.max_batch)
            for start, stop in self._parts(view.count):
                session.prepare(stop - start)

    def __call__(self, frames: Sequence[Array8 | YuvFrame]) -> tuple[Scores, Array8 | None, list[float]]:
        """Score frames. Several threads may call at once.

        Args:
            frames: The frames, each [height, width, 3], uint8, RGB, or YUV.

        Returns:
            The scores of all their views; the views, [count, size, size, 3], uint8, or None if they were cut on the GPU
            and are not kept; and the seconds that preprocessing, encoding and scoring took.
        """
        session = self._session
        squares = [(frame, box) for frame in frames for box in self._view.boxes(*frame.shape[:2])]
        with session.turn():
            session.mark()
            results = _Results(session, len(squares), self._grid, self._keep_views and self._view.is_plain)
            views = None if self._view.is_plain else self._cut(frames)
            session.condition(self._conditions)
            uploaded = None
            for start, stop in self._parts(len(squares)):
                if views is None:
                    uploaded = self._resize(squares[start:stop], uploaded)
                else:
                    if start:
                        session.wait()  # the graph may still read the previous views, which these overwrite
                    session.fill(views[start:stop])
                session.mark()
                session.launch(stop - start)
                session.mark()
                self._score(results, start, stop - start)
                if stop == len(squares):
                    session.download(results.host, results.device)
                session.mark()
            session.wait()
            spans = np.reshape(session.spans(), (-1, 3)).sum(axis=0)
            scores, kept = results.read()
        return with_image_maximum(scores, self._learned), kept if views is None else views, list(spans)

    def _parts(self, count: int) -> list[tuple[int, int]]:
        """Return start and stop of the views that go through the graph together."""
        size = self._session.max_batch
        return [(start, min(start + size, count)) for start in range(0, count, size)]

    def _cut(self, frames: Sequence[Array8 | YuvFrame]) -> Array8:
        """Cut frames on the CPU, for views with a mask or a letterbox."""
        size = self._session.input().shape[1]
        return np.concatenate([
            self._view.cut(frame.rgb() if isinstance(frame, YuvFrame) else frame, size) for frame in frames
        ])  # fmt: skip

    def _resize(self, squares: Sequence[tuple[Array8 | YuvFrame, Box]], uploaded: _Uploaded | None) -> _Uploaded | None:
        """Upload the regions of frames, and write their squares to the graph's input. Return the last upload.

        A frame whose region is in `uploaded` already is not uploaded again.
        """
        session = self._session
        views = session.input()
        size = views.shape[1:3]
        for slot, (frame, box) in enumerate(squares):
            if uploaded is None or frame is not uploaded.frame:
                if uploaded is not None:
                    session.wait()  # the GPU may still read the previous frame, which this one overwrites
                uploaded = self._upload(frame)
            area = (box.x - uploaded.x, box.y - uploaded.y, box.width, box.height)
            self._cuda.resize(uploaded.pixels, size, area, uploaded.format, views[slot], session.stream)
        return uploaded

    def _upload(self, frame: Array8 | YuvFrame) -> _Uploaded:
        """Enqueue the upload of a frame's region."""
        region = self._view.region(*frame.shape[:2])
        x, y, kind = region.x, region.y, "rgb"
        if isinstance(frame, YuvFrame):
            pixels, kind = frame.crop(x, y, region.width, region.height).pixels, frame.format
            x, y = x // 2 * 2, y // 2 * 2
        else:
            pixels = frame[y : y + region.height, x : x + region.width]
        host, device = self._session.buffer("frame", pixels.shape, np.uint8)
        host[...] = pixels
        self._session.upload(host, device)
        return _Uploaded(frame, device, kind, x, y)

    def _score(self, results: _Results, start: int, count: int) -> None:
        """Score the features of the last launch: those of `count` views, from the view `start` on."""
        session = self._session
        global_, local, memory = split_outputs(session.outputs(count))
        out = [array.part(start, count) for array in results.arrays]
        self._scorer.run(global_, local, memory, out, session.stream)
        if results.views is not None:
            session.copy(results.views.part(start, count), session.input().first(count))


@dataclass(frozen=True, eq=False)
class _Uploaded:
    """A frame's region on the GPU. It starts at x and y in the frame."""

    frame: Array8 | YuvFrame
    pixels: DeviceArray
    format: str
    x: int
    y: int


class _Results:
    """Scores of some views, and the views if they are kept. They lie side by side on the GPU, so one copy fetches all.

    Attributes:
        arrays: The arrays of scores on the GPU: image, grid and the branches.
        views: The views on the GPU; None if they are not kept.
        host: The host memory that everything is copied to.
        device: Everything on the GPU.
    """

    def __init__(self, session: DeviceSession, count: int, grid: tuple[int, int], keep_views: bool) -> None:
        shapes = [(count, *grid) if is_grid else (count,) for is_grid in _IS_GRID]
        views = (count, *session.input().shape[1:])
        size = 4 * sum(map(math.prod, shapes)) + keep_views * math.prod(views)
        self.host, self.device = session.buffer("results", (size,), np.uint8)
        self.arrays: list[DeviceArray] = []
        address = self.device.address
        for shape in shapes:
            self.arrays.append(DeviceArray(address, shape, "<f4"))
            address += self.arrays[-1].nbytes
        self.views = DeviceArray(address, views, "|u1") if keep_views else None

    def read(self) -> tuple[Scores, Array8 | None]:
        """Return the scores and the views that were downloaded."""
        *scores, views = np.split(self.host.copy(), np.cumsum([array.nbytes for array in self.arrays]))
        image, grid, *branches = (
            part.view(np.float32).reshape(array.shape) for part, array in zip(scores, self.arrays, strict=True)
        )
        kept = None if self.views is None else views.reshape(self.views.shape)
        return Scores(image, grid, Branches(*branches)), kept
