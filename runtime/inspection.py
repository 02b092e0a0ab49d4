"""What was found in one picture."""

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
"""How far above the highest pixel score rounding can lift the map."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found in one picture.

    raw_score: image score, [0,1], of the worst tile; grids: raw pixel scores on the encoder's patch grid, per
    tile [rows·columns,h,w]; frame: its height and width; milliseconds: per stage after loading (a batch's
    time divided by its pictures); recipe, graph: digest and graph id they came from; backend: what ran; provisional:
    whether the threshold rests on a single photo (RecipeHeader.is_provisional); scene: why the picture is not of the
    scene that was learned, None where it is, and where the recipe has learned none; draw: draws the picture with what
    was found in it, as PNG, None for a picture of a batch. A notebook shows that.
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
            f"Inspection({self.verdict}, score {format_score(self.score)}, {len(self.regions)} regions, "
            f"{width}×{height} pixels)"
        )

    def _repr_png_(self) -> bytes | None:
        """Return what a notebook shows, or None, at which it shows the line above."""
        return None if self.draw is None else self.draw(self)

    @property
    def raw_threshold(self) -> float:
        """Raw image score from which a part is rejected."""
        return self.thresholds.image

    @property
    def score(self) -> float:
        """The raw score as a share of the raw threshold: 1 is the limit, 0.5 is half as anomalous as allowed."""
        return self.thresholds.score(self.raw_score)

    @property
    def verdict(self) -> Verdict:
        """ "reject" from score 1 on; below, "review" from the thresholds' review on, where that is set; else "good"."""
        return self.thresholds.verdict(self.raw_score)

    @property
    def extent(self) -> Box:
        """The part of the frame that was inspected."""
        return self.view.region(*self.frame)

    @functools.cached_property
    def map(self) -> Floats:
        """Raw pixel scores over `extent`, float32 [400·rows,400·columns]; computed when first asked for."""
        with one_blas_thread():
            return self.view.stitch(self.grids, *self.frame)

    @functools.cached_property
    def regions(self) -> list[Region]:
        """Connected places above the pixel threshold, in frame pixels, highest peak first."""
        if self.grids.max() * _ROUNDING < self.thresholds.pixel:  # the map averages the grids: nothing in it is higher
            return []
        return find_regions(self.map, self.thresholds.pixel, self.thresholds.min_area, self.extent)


def format_score(score: float) -> str:
    """Return a score in few digits, rounded down, so that 1.00 is never shown for a part below the limit."""
    if score > 1000.0:
        return "> 1000"
    digits = 2 if score < 10.0 else 1 if score < 100.0 else 0
    text = f"{score:.{digits}f}"
    return text if float(text) <= score else f"{float(text) - 10.0**-digits:.{digits}f}"
