"""The detector: an engine and a recipe, pictures in, inspections out."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, overload

import msgspec
import numpy as np
from PIL import Image

from .backends.gpu_scorer import GpuScorer, open_gpu_scorer
from .backends.session import Precision
from .core.errors import EngineError, ImageError, SettingsError
from .core.preprocess import Array8, Picture, load_frame, load_rgb
from .core.scene import Scene, SceneChange, measure_scene
from .core.scorer import EXACT, Scorer, Search
from .core.scoring import Floats, Scores
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
    scorer: Scorer | GpuScorer
    thresholds: Thresholds

    @property
    def is_provisional(self) -> bool:
        """Whether the threshold in use rests on a single photo."""
        header = self.recipe.header
        return header.is_provisional and self.thresholds.image == header.thresholds.image


class Detector:
    """Finds bad parts of one product at a time; `use` changes the product, the engine stays.

    `predict`, `use` and the thresholds may be called from several threads. trust: where given, files of recipes that
    none of its keys signed are refused.
    """

    @overload
    def __init__(
        self, recipe: Recipe | str | Path, /, *, search: Search = EXACT, trust: Trust | None = None
    ) -> None: ...

    @overload
    def __init__(
        self, engine: Engine, recipe: Recipe | str | Path, *, search: Search = EXACT, trust: Trust | None = None
    ) -> None: ...

    def __init__(
        self,
        engine: Engine | Recipe | str | Path,
        recipe: Recipe | str | Path | None = None,
        *,
        search: Search = EXACT,
        trust: Trust | None = None,
    ) -> None:
        """Use an open engine, or the one that ships with goodparts where only a recipe is given."""
        if not isinstance(engine, Engine):
            if recipe is not None:
                raise SettingsError(f"engine is a {type(engine).__name__}: open a folder with Engine.open")
            recipe, engine = engine, Engine.open(verify=True)
        if recipe is None:
            raise SettingsError("a Detector needs a recipe: give one after the engine")
        self.engine: Engine = engine
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
        scorer = open_gpu_scorer(
            session, learned, grid, recipe.header.view, self._search, recipe.conditions,
            keep_views=bool(recipe.header.scene),
        ) or Scorer(learned, grid, search=self._search, threads=self.engine.threads)  # fmt: skip
        self._product = _ProductInUse(recipe, scorer, recipe.header.thresholds)

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

    @property
    def is_provisional(self) -> bool:
        """Whether the threshold in use rests on a single photo."""
        return self._product.is_provisional

    @property
    def takes_yuv(self) -> bool:
        """Whether a YuvFrame goes to a GPU as it is, and is not made RGB first."""
        return isinstance(self._product.scorer, GpuScorer)

    def predict(self, picture: Picture) -> Inspection:
        """Inspect one picture (preprocess.load_rgb tells what is accepted)."""
        [inspection] = self.predict_batch([picture])
        return dataclasses.replace(inspection, draw=functools.partial(_draw, picture))

    def predict_batch(self, pictures: Iterable[Picture]) -> list[Inspection]:
        """Inspect several pictures in one pass of the encoder."""
        if isinstance(pictures, (str, os.PathLike, Image.Image)):
            raise ImageError(
                f"pictures is a single {type(pictures).__name__}: give a list of pictures, or call predict"
            )
        frames = [load_frame(picture) for picture in pictures]
        if not frames:
            return []
        product = self._product
        view = product.recipe.header.view
        if isinstance(product.scorer, GpuScorer):
            scores, views, spans = product.scorer(frames)
        else:
            scores, views, spans = self._score(product.recipe, product.scorer, list(map(load_rgb, frames)))
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
                provisional=product.is_provisional,
                scene=None
                if views is None
                else judge_scene(product.recipe.header.scene, views[tile], scores.branches.grid_memory[tile]),
            )
            for frame, tile in zip(frames, tiles, strict=True)
        ]

    def _score(self, recipe: Recipe, scorer: Scorer, frames: list[Array8]) -> tuple[Scores, Array8, list[float]]:
        """Return the scores of all the frames' views, the views, and the seconds of cutting, encoding, scoring."""
        size, view = self.engine.encoder.image_size, recipe.header.view
        clock = [time.perf_counter()]
        views = np.concatenate([view.cut(frame, size, self.engine.threads) for frame in frames])
        clock.append(time.perf_counter())
        features = self.engine.encode(views, recipe.conditions)
        clock.append(time.perf_counter())
        scores = scorer(features)
        clock.append(time.perf_counter())
        return scores, views, [stop - start for start, stop in itertools.pairwise(clock)]


def judge_scene(scene: Scene | msgspec.UnsetType, views: Array8, grid_memory: Floats) -> SceneChange | None:
    """Return why a picture, its views and their memory scores given, is not of the scene; None also for no scene."""
    return scene.judge(measure_scene(views, grid_memory)) if scene else None


def _draw(picture: Picture, inspection: Inspection) -> bytes:
    """Return a picture with what was found in it, as PNG."""
    from .overlay import draw_overlay, to_png

    return to_png(draw_overlay(load_rgb(picture), inspection))
