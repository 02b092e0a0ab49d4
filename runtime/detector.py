"""The detector: an engine and a recipe, pictures in, inspections out."""

from __future__ import annotations

import functools
import itertools
import logging
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from threadpoolctl import ThreadpoolController

from .calibrate import Level, calibrated
from .engine import Engine, Precision
from .errors import RecipeError, SettingsError
from .preprocess import Picture, load_rgb
from .recipe import Recipe, Thresholds
from .regions import Region, find_regions
from .scoring import MAP_SIZE, Floats, Learned, anomaly_map, score
from .view import Box

log = logging.getLogger(__name__)


_blas = ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[object]:
    """Keep numpy's matrix products on this thread.

    The helper threads of numpy's BLAS go on spinning after a product and take a core from the encoder's
    next frame: 30 to 45 ms of 130 to 310 on two cores (`goodparts bench frame`).
    """
    return _blas.limit(limits=1, user_api="blas")  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Inspection:
    """What was found in one picture.

    score: raw image score, [0,1]; threshold: the raw score from which a part is rejected; grid: raw pixel
    scores on the encoder's patch grid; extent: the part of the frame that was inspected; milliseconds: per
    stage after loading (a batch's time divided by its pictures); recipe, engine: digest and backend they came from.
    """

    score: float
    thresholds: Thresholds
    level: Level
    grid: Floats
    extent: Box
    window: tuple[float, float, float, float]
    milliseconds: dict[str, float]
    recipe: str
    engine: str

    @property
    def threshold(self) -> float:
        """Raw image score from which a part is rejected."""
        return self.thresholds.image

    @property
    def verdict(self) -> Literal["good", "reject"]:
        """ "reject" when the score reaches the threshold."""
        return "reject" if self.score >= self.threshold else "good"

    @property
    def calibrated(self) -> float:
        """The score in [0,1]: monotone in the raw score, 0.5 at the threshold."""
        return calibrated(self.score, self.threshold, self.level)

    @functools.cached_property
    def map(self) -> Floats:
        """Raw pixel scores over `extent`, float32 [400,400]; computed when first asked for."""
        with one_blas_thread():
            return anomaly_map(self.grid, MAP_SIZE, window=self.window)

    @functools.cached_property
    def regions(self) -> list[Region]:
        """Connected places above the pixel threshold, in frame pixels, highest peak first."""
        return find_regions(self.map, self.thresholds.pixel, self.thresholds.min_area, self.extent)


class Detector:
    """Finds bad parts of one product at a time; `use` changes the product, the engine stays.

    `thresholds` may be replaced at any time.
    """

    def __init__(self, engine: Engine, recipe: Recipe | str | Path) -> None:
        self.engine = engine
        self.recipe: Recipe
        self._thresholds: Thresholds
        self._learned: Learned
        self.use(recipe)

    @classmethod
    def open(
        cls,
        engine: str | Path,
        recipe: str | Path,
        *,
        backend: str = "auto",
        precision: Precision = "fp32",
        threads: int | None = None,
    ) -> Detector:
        """Open an engine folder and a recipe file; see Engine.open for the options."""
        return cls(Engine.open(engine, backend=backend, precision=precision, threads=threads), recipe)

    def use(self, recipe: Recipe | str | Path) -> None:
        """Change the product. On an error the product in use stays.

        A recipe whose memory was computed with another graph of the same encoder is fitted to this one
        from its shots, which takes one encoder pass over them.
        """
        name = "recipe" if isinstance(recipe, Recipe) else str(recipe)
        if not isinstance(recipe, Recipe):
            recipe = Recipe.open(recipe)
        if recipe.header.encoder != self.engine.encoder:
            raise RecipeError(
                f"{name} was made for {recipe.header.encoder}, this engine is {self.engine.encoder}: "
                "use the engine it was made with, or train it again on this one"
            )
        if recipe.header.graph != self.engine.graph_id:
            log.info("%s was made with another graph: its memory is computed again from its shots", name)
            recipe = recipe.refit(self.engine.encode, self.engine.graph_id, name)
        self.thresholds = recipe.header.thresholds
        self._learned = recipe.learned()
        self.recipe = recipe

    @property
    def thresholds(self) -> Thresholds:
        """The recipe's, unless they were replaced since `use`. SettingsError for values that decide nothing."""
        return self._thresholds

    @thresholds.setter
    def thresholds(self, thresholds: Thresholds) -> None:
        for name in ("image", "pixel"):
            value = getattr(thresholds, name)
            if not (math.isfinite(value) and value > 0):
                raise SettingsError(f"{name} threshold {value}: a finite number above 0 is needed")
        self._thresholds = thresholds

    def predict(self, picture: Picture) -> Inspection:
        """Inspect one picture (preprocess.load_rgb says what is accepted)."""
        return self.predict_batch([picture])[0]

    def predict_batch(self, pictures: Sequence[Picture]) -> list[Inspection]:
        """Inspect several pictures in one pass of the encoder."""
        if not pictures:
            return []
        size, view = self.engine.encoder.image_size, self.recipe.header.view
        frames = [load_rgb(picture) for picture in pictures]
        clock = [time.perf_counter()]
        views = np.concatenate([view.cut(frame, size) for frame in frames])
        clock.append(time.perf_counter())
        features = self.engine.encode(views)
        clock.append(time.perf_counter())
        with one_blas_thread():
            scores = score(features, self._learned)
        clock.append(time.perf_counter())
        spans = [(stop - start) * 1e3 / len(frames) for start, stop in itertools.pairwise(clock)]
        milliseconds = dict(zip(("preprocess", "encode", "score"), spans, strict=True))
        inspections = []
        for frame, image, grid in zip(frames, scores.image, scores.grid, strict=True):
            extent = view.region(*frame.shape[:2])
            inspections.append(
                Inspection(
                    score=float(image),
                    thresholds=self.thresholds,
                    level=self.recipe.header.calibration.image,
                    grid=grid,
                    extent=extent,
                    window=view.window(extent, size),
                    milliseconds=milliseconds,
                    recipe=self.recipe.header.digest,
                    engine=self.engine.backend,
                )
            )
        return inspections
