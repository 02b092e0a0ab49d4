"""The photos that a method puts on the wrong side, and how wrong it is about each."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from goodparts.runtime.core.scoring import Floats

from .metrics.curve import Flags

MAX_MISTAKES = 12
"""The number of mistakes that are kept of a measurement."""


class Mistake(msgspec.Struct, frozen=True):
    """A good photo that scores as high as bad ones, or a bad photo that scores as low as good ones.

    index is the photo's index in the split's test photos. size is the share of photos of the other kind that it is on
    the wrong side of, above 0 and up to 1. grid holds its patch scores, float32 of `shape` [h,w] as bytes.
    """

    index: int
    score: float
    size: float
    grid: bytes
    shape: tuple[int, int]


def find_mistakes(bad: Flags, scores: Floats, grids: Floats, indices: Sequence[int]) -> tuple[Mistake, ...]:
    """Return at most MAX_MISTAKES mistakes, the largest first.

    bad [N], image scores [N] and patch scores [N,h,w] are of the tested photos; indices are theirs in the split's test
    photos.
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
    """Return how wrong each score [N] is: 0 for a photo that is on the right side of all photos of the other kind.

    For a good photo it is the share of bad ones that score no higher, and for a bad photo the share of good ones that
    score no lower.
    """
    sizes = np.zeros(len(scores), np.float32)
    for kind, is_wrong in ((True, np.less_equal), (False, np.greater_equal)):
        others = scores[bad == kind]
        if len(others):
            sizes[bad != kind] = is_wrong(others[None, :], scores[bad != kind][:, None]).mean(axis=1)
    return sizes
