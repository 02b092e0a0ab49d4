"""What was found in one picture."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

from .core.regions import Region, find_regions
from .core.scene import SceneChange
from .core.scoring import Floats
from .core.threads import one_blas_thread
from .core.view import Box, View
from .recipe.calibrate import Level, calibrated
from .recipe.header import Thresholds

_ROUNDING = 1.0 + 1e-5
"""How far above the highest pixel score rounding can lift the map."""

Verdict = Literal["good", "reject"]


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found in one picture.

    score: raw image score, [0,1], of the worst tile; grids: raw pixel scores on the encoder's patch grid, per
    tile [rows·columns,h,w]; frame: its height and width; milliseconds: per stage after loading (a batch's
    time divided by its pictures); recipe, graph: digest and graph id they came from; backend: what ran; scene: why
    the picture is not of the scene that was learned, None where it is, and where the recipe has learned none.
    """

    score: float
    thresholds: Thresholds
    level: Level
    grids: Floats
    view: View
    frame: tuple[int, int]
    milliseconds: dict[str, float]
    recipe: str
    graph: str
    backend: str
    scene: SceneChange | None = None

    @property
    def threshold(self) -> float:
        """Raw image score from which a part is rejected."""
        return self.thresholds.image

    @property
    def verdict(self) -> Verdict:
        """ "reject" when the score reaches the threshold."""
        return "reject" if self.score >= self.threshold else "good"

    @property
    def calibrated(self) -> float:
        """The score in [0,1]: monotone in the raw score, 0.5 at the threshold."""
        return calibrated(self.score, self.threshold, self.level)

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
