"""The detector: an engine and a recipe, pictures in, inspections out."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from PIL import Image

from .backends.gpu_scorer import GpuScorer, open_gpu_scorer
from .backends.session import Precision
from .core.errors import EngineError, ImageError
from .core.preprocess import Array8, Picture, load_rgb
from .core.scorer import EXACT, Scorer, Search
from .core.scoring import Scores
from .engine.engine import Engine
from .inspection import Inspection
from .recipe.header import Thresholds
from .recipe.recipe import Recipe
from .recipe.refit import fit_to
from .recipe.signing import Trust

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _ProductInUse:
    """A product in use. Replaced as a whole, so that a change from another thread falls between two frames."""

    recipe: Recipe
    score: Scorer
    gpu_scorer: GpuScorer | None
    thresholds: Thresholds


class Detector:
    """Finds bad parts of one product at a time; `use` changes the product, the engine stays.

    `predict`, `use` and the thresholds may be called from several threads. trust: where given, files of recipes that
    none of its keys signed are refused.
    """

    def __init__(
        self, engine: Engine, recipe: Recipe | str | Path, *, search: Search = EXACT, trust: Trust | None = None
    ) -> None:
        self.engine = engine
        self._search, self._trust = search, trust
        self._product: _ProductInUse
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
        verify: bool = False,
        search: Search = EXACT,
        trust: Trust | None = None,
    ) -> Detector:
        """Open an engine folder and a recipe file; see Engine.open for the options, Search, and Trust."""
        opened = Engine.open(engine, backend=backend, precision=precision, threads=threads, verify=verify)
        return cls(opened, recipe, search=search, trust=trust)

    def __reduce__(self) -> NoReturn:
        raise EngineError("a Detector cannot be pickled or copied to another process: open one per process")

    def use(self, recipe: Recipe | str | Path) -> None:
        """Change the product. On an error the product in use stays.

        A recipe whose memory was computed with another graph of the same encoder is fitted to this one
        from its shots, which takes one encoder pass over them.
        """
        name = "recipe" if isinstance(recipe, Recipe) else str(recipe)
        if not isinstance(recipe, Recipe):
            recipe = Recipe.open(recipe, self._trust)
        recipe = fit_to(self.engine, recipe, name)
        recipe.header.thresholds.check()
        learned, grid = recipe.learned(), self.engine.encoder.grid
        session = self.engine.session_for(recipe.conditions)
        gpu_scorer = open_gpu_scorer(session, learned, grid, recipe.header.view, self._search, recipe.conditions)
        scorer = Scorer(learned, grid, search=self._search, threads=self.engine.threads)
        self._product = _ProductInUse(recipe, scorer, gpu_scorer, recipe.header.thresholds)

    @property
    def recipe(self) -> Recipe:
        """The product in use."""
        return self._product.recipe

    @property
    def thresholds(self) -> Thresholds:
        """The recipe's, unless they were replaced since `use`. SettingsError for values that decide nothing."""
        return self._product.thresholds

    @thresholds.setter
    def thresholds(self, thresholds: Thresholds) -> None:
        thresholds.check()
        self._product = dataclasses.replace(self._product, thresholds=thresholds)

    def predict(self, picture: Picture) -> Inspection:
        """Inspect one picture (preprocess.load_rgb says what is accepted)."""
        return self.predict_batch([picture])[0]

    def predict_batch(self, pictures: Iterable[Picture]) -> list[Inspection]:
        """Inspect several pictures in one pass of the encoder."""
        if isinstance(pictures, (str, os.PathLike, Image.Image)):
            raise ImageError(
                f"pictures is a single {type(pictures).__name__}: give a list of pictures, or call predict"
            )
        frames = [load_rgb(picture) for picture in pictures]
        if not frames:
            return []
        product = self._product
        view = product.recipe.header.view
        scores, spans = self._score(frames, product) if product.gpu_scorer is None else product.gpu_scorer(frames)
        if not (np.isfinite(scores.image).all() and np.isfinite(scores.grid).all()):
            raise EngineError(
                f"{self.engine.backend} gave features that are not finite: no verdict can be had from them; "
                "try another --backend or --precision"
            )
        milliseconds = {
            stage: span * 1e3 / len(frames)
            for stage, span in zip(("preprocess", "encode", "score"), spans, strict=True)
        }
        tiles = [slice(start, start + view.count) for start in range(0, len(scores.image), view.count)]
        return [
            Inspection(
                raw_score=float(scores.image[tile].max()),
                thresholds=product.thresholds,
                grids=scores.grid[tile],
                view=view,
                frame=(frame.shape[0], frame.shape[1]),
                milliseconds=milliseconds,
                recipe=product.recipe.digest,
                graph=product.recipe.header.graph,
                backend=self.engine.backend,
            )
            for frame, tile in zip(frames, tiles, strict=True)
        ]

    def _score(self, frames: list[Array8], product: _ProductInUse) -> tuple[Scores, list[float]]:
        """The scores of all the frames' views, and the seconds of preprocessing, encoding and scoring."""
        size, view = self.engine.encoder.image_size, product.recipe.header.view
        clock = [time.perf_counter()]
        views = np.concatenate([view.cut(frame, size, self.engine.threads) for frame in frames])
        clock.append(time.perf_counter())
        features = self.engine.encode(views, product.recipe.conditions)
        clock.append(time.perf_counter())
        scores = product.score(features)
        clock.append(time.perf_counter())
        return scores, [stop - start for start, stop in itertools.pairwise(clock)]
