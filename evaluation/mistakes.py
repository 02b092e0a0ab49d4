"""The photos whose scores lie on the wrong side of photos of the other kind, and how wrong each score is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from goodparts.runtime.core.scoring import Floats

from .metrics.curve import Flags

MAX_MISTAKES = 12
"""The number of mistakes that are kept for a measurement."""


class Mistake(msgspec.Struct, frozen=True):
    """A good photo that scores as high as bad photos, or a bad photo that scores as low as good photos.

    Attributes:
        index: The photo's index in the split's test photos.
        score: Its image score.
        size: The share of photos of the other kind that it is on the wrong side of, above 0 and up to 1.
        grid: Its patch scores, float32 of `shape`, as bytes.
        shape: The grid's numbers of rows and columns.
    """

    index: int
    score: float
    size: float
    grid: bytes
    shape: tuple[int, int]


def find_mistakes(bad: Flags, scores: Floats, grids: Floats, indices: Sequence[int]) -> tuple[Mistake, ...]:
    """Return at most MAX_MISTAKES mistakes, the largest first.

    Args:
        bad: Which of the tested photos are bad, bool [N].
        scores: Their image scores [N].
        grids: Their patch scores [N,h,w].
        indices: The N indices of the tested photos in the split's test photos.
    """
    sizes = mistake_sizes(bad, scores)
    largest = np.argsort(-sizes, kind="stable")[:MAX_MISTAKES]
    return tuple(
        Mistake(
            indices[at], float(scores[at]), float(sizes[at]), grids[at].astype(np.float32).tobytes(), grids.shape[1:]
        )
        for at in largest.tolist()
        if sizes[at] > 0
    )


def mistake_sizes(bad: Flags, scores: Floats) -> Floats:
    """Return how wrong each score is, float32 [N], from 0 to 1.

    For a good photo it is the share of bad photos that score no higher. For a bad photo it is the share of good photos
    that score no lower. A photo on the right side of all photos of the other kind has 0.

    Args:
        bad: Which photos are bad, bool [N].
        scores: Their image scores [N].
    """
    sizes = np.zeros(len(scores), np.float32)
    for kind, is_wrong in ((True, np.less_equal), (False, np.greater_equal)):
        others = scores[bad == kind]
        if len(others):
            sizes[bad != kind] = is_wrong(others[None, :], scores[bad != kind][:, None]).mean(axis=1)
    return sizes
