"""Frames that stay on the GPU: from the camera's pixels to scores, with nothing but scores coming back."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import native
from ..core.conditions import Conditions
from ..core.preprocess import Array8
from ..core.scorer import Search, kernel_arguments, with_image_maximum
from ..core.scoring import Branches, Learned, Scores
from ..core.view import Box, View
from .session import DeviceSession, Session
from .tensors import split_outputs

_PRECISIONS = {"fp32": "fp16", "bf16": "bf16", "int8": "int8"}
"""Search precision → what the device searches in. Recipes keep their rows in fp16, so fp32 loses nothing of them."""


def open_gpu_scorer(
    session: Session,
    learned: Learned,
    grid: tuple[int, int],
    view: View,
    search: Search,
    conditions: Conditions | None = None,
) -> GpuScorer | None:
    """Return a scorer of frames that stay on the GPU.

    None means that the graph does not run on a GPU, that the C++ core has no CUDA kernels here, or that the recipe is
    of a subspace.
    """
    cuda = native.cuda()
    if cuda is None or not isinstance(session, DeviceSession) or learned.fusion == "subspace":
        return None
    return GpuScorer(session, cuda, learned, grid, view, search, conditions)


class GpuScorer:
    """Scores the frames of one product with an open graph and the CUDA kernels of the C++ core.

    Scores are those of scoring.score to about 1e-4, for the memory is multiplied in fp16. A recall below 1 has no
    effect: every row is searched.
    """

    def __init__(
        self, session: DeviceSession, cuda: Any, learned: Learned, grid: tuple[int, int], view: View, search: Search,
        conditions: Conditions | None = None,
    ) -> None:  # fmt: skip
        self._session, self._cuda, self._view, self._grid = session, cuda, view, grid
        self._learned, self._conditions = learned, conditions
        banks = [cuda.Bank(rows.shape[1], _PRECISIONS[search.precision]) for rows in learned.banks]
        for bank, rows in zip(banks, learned.banks, strict=True):
            bank.append(rows)
        self._scorer = cuda.Scorer(*kernel_arguments(learned, banks, learned.margins, grid), session.max_batch)

    def __call__(self, frames: Sequence[Array8]) -> tuple[Scores, Array8, list[float]]:
        """Score frames uint8 RGB [H,W,3]; several threads may call at once.

        Returns the scores of all their views, the views uint8 [B,S,S,3], and the seconds of preprocessing, encoding and
        scoring.
        """
        squares = [(frame, box) for frame in frames for box in self._view.boxes(*frame.shape[:2])]
        size = self._session.max_batch
        parts, spans = [], np.zeros(3)
        with self._session.lock:
            for start in range(0, len(squares), size):
                part = squares[start : start + size]
                clock = [time.perf_counter()]
                self._session.condition(self._conditions)
                self._fill(part)
                clock.append(self._now())
                self._session.launch(len(part))
                clock.append(self._now())
                parts.append(self._score(len(part)))
                clock.append(time.perf_counter())
                spans += [stop - start for start, stop in itertools.pairwise(clock)]
        image, grid, *branches, views = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        scores = with_image_maximum(Scores(image, grid, Branches(*branches)), self._learned)
        return scores, views, list(spans)

    def _now(self) -> float:
        self._session.wait()
        return time.perf_counter()

    def _fill(self, squares: Sequence[tuple[Array8, Box]]) -> None:
        """Write squares of frames to the graph's input.

        Where the view is plain, whole frames go up and are cut on the GPU; the CPU makes masks and letterboxes.
        """
        session, view = self._session, self._view
        views = session.input()
        size = views.shape[1]
        if not view.is_plain:
            session.fill(np.stack([view.square(frame, box, size) for frame, box in squares]))
            return
        uploaded = None
        for slot, (frame, box) in enumerate(squares):
            if frame is not uploaded:
                session.wait()  # the frame before is still read from where this one goes
                host, device = session.buffer("frame", frame.shape, np.uint8)
                host[...] = frame
                session.upload(host, device)
                uploaded = frame
            area = (box.x, box.y, box.width, box.height)
            self._cuda.resize(device, (size, size), area, "rgb", views[slot], session.stream)

    def _score(self, batch: int) -> list[Any]:
        """Score the features of the last launch; return scores of image and grid, the five branches, and the views."""
        session = self._session
        global_, local, memory = split_outputs(session.outputs(batch))
        is_grid = (False, True, False, False, True, True, True)
        shapes = [(batch, *self._grid) if grid else (batch,) for grid in is_grid]
        buffers = [session.buffer(f"scores {number}", shape, np.float32) for number, shape in enumerate(shapes)]
        out = [device for _, device in buffers]
        self._scorer.run(global_, local, memory, out, None, session.stream)
        views = session.input().first(batch)
        buffers.append((session.buffer("views", views.shape, np.uint8)[0], views))
        for host, device in buffers:
            session.download(host, device)
        session.wait()
        return [host.copy() for host, _ in buffers]
