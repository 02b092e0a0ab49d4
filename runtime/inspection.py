"""The inspection: the scores, regions and verdict of one picture."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from .core.regions import Region, find_regions
from .core.scene import SceneChange
from .core.scoring import Floats
from .core.threads import one_blas_thread
from .core.view import Box, View
from .recipe.header import Thresholds, Verdict

_ROUNDING = 1.0 + 1e-5
"""The factor by which rounding can raise the map above the highest score of the grids."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """The result of inspecting one picture.

    Attributes:
        raw_score: The image score of the worst tile, 0 or more; a higher score is more anomalous.
        thresholds: The thresholds that were in use.
        grids: The raw pixel scores on the encoder's patch grid, [tiles,h,w], float32.
        view: Which part of the frame was inspected, and in how many tiles.
        frame: The frame's height and width in pixels.
        milliseconds: The time of each stage after loading: "preprocess", "encode" and "score". For a batch, it is the
            batch's time divided by the number of its pictures.
        recipe: The digest of the recipe.
        graph: The id of the graph that encoded the picture.
        backend: The inference library, device and precision that ran.
        provisional: Whether the threshold rests on a single photo.
        scene: Why the picture does not show the scene that was learned; None if it does, or if the recipe has no scene.
        draw: Returns the picture as PNG with its heat-map and verdict, which a notebook shows; None for a picture of a
            batch.
    """

    raw_score: float
    thresholds: Thresholds
    grids: Floats
    view: View
    frame: tuple[int, int]
    milliseconds: dict[str, float]
    recipe: str
    graph: str
    backend: str
    provisional: bool = False
    scene: SceneChange | None = None
    draw: Callable[[Inspection], bytes] | None = None

    def __repr__(self) -> str:
        height, width = self.frame
        return (
            f"Inspection({self.verdict}, score {format_score(self.score)}, regions: {len(self.regions)}, "
            f"{width}×{height} pixels)"
        )

    def _repr_png_(self) -> bytes | None:
        """Return the picture that a notebook shows. If it is None, the notebook shows `__repr__`."""
        return None if self.draw is None else self.draw(self)

    @property
    def raw_threshold(self) -> float:
        """The raw image score from which a part is rejected."""
        return self.thresholds.image

    @property
    def score(self) -> float:
        """The raw score divided by the raw threshold: a part is rejected at 1 and above."""
        return self.thresholds.score(self.raw_score)

    @property
    def verdict(self) -> Verdict:
        """Reject if the score is 1 or more, review if it is at least `thresholds.review`, otherwise good."""
        return self.thresholds.verdict(self.raw_score)

    @property
    def extent(self) -> Box:
        """The part of the frame that was inspected, in pixels of the frame."""
        return self.view.region(*self.frame)

    @functools.cached_property
    def map(self) -> Floats:
        """The raw pixel scores over `extent`, float32, computed at the first use.

        The shape is [400·rows,400·columns], for the rows and columns of tiles.
        """
        with one_blas_thread():
            return self.view.stitch(self.grids, *self.frame)

    @functools.cached_property
    def regions(self) -> list[Region]:
        """The connected places at or above the pixel threshold, in pixels of the frame, highest peak first."""
        if self.grids.max() * _ROUNDING < self.thresholds.pixel:  # the map averages the grids, so it is nowhere higher
            return []
        return find_regions(self.map, self.thresholds.pixel, self.thresholds.min_area, self.extent)


def format_score(score: float) -> str:
    """Return a score with few digits, rounded down so that a part below the threshold is never shown with 1.00.

    Args:
        score: The score, 0 or more.
    """
    if score > 1000.0:
        return "> 1000"
    digits = 2 if score < 10.0 else 1 if score < 100.0 else 0
    text = f"{score:.{digits}f}"
    return text if float(text) <= score else f"{float(text) - 10.0**-digits:.{digits}f}"
