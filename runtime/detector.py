"""The detector: it inspects pictures with an engine and a recipe."""

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
    """A product in use. It is replaced as a whole: a change by another thread takes effect between two calls."""

    recipe: Recipe
    scorer: Scorer | GpuScorer
    thresholds: Thresholds

    @property
    def is_provisional(self) -> bool:
        """Whether the threshold in use rests on a single photo."""
        header = self.recipe.header
        return header.is_provisional and self.thresholds.image == header.thresholds.image


class Detector:
    """Inspects pictures of one product at a time.

    `use` changes the product; the engine stays open. Several threads may call `predict`, `predict_batch` and `use`, and
    set `thresholds`: a change takes effect between two calls. Open one detector per process.

        detector = Detector("nut.safetensors")
        inspection = detector.predict("photos/today/7.png")
        print(inspection.verdict, inspection.score)

    Args:
        engine: An open engine. Without it, the first argument is the recipe, and the engine that ships with goodparts
            is opened.
        recipe: A recipe, or the path of a recipe file.
        search: How the recipe's memory is searched; exactly by default.
        trust: The public keys that are accepted: a recipe file that none of them signed is refused. None accepts every
            recipe file. A `Recipe` that is open already is not checked.

    Attributes:
        engine: The engine, which encodes the pictures.

    Raises:
        SettingsError: The recipe is missing, the engine is not an `Engine`, or a threshold of the recipe is out of
            range.
        RecipeError: The recipe file is damaged or not signed by a trusted key, or the recipe does not fit the engine.
        FileError: The recipe file cannot be read.
        EngineError: The engine lacks the prompted graph that the recipe needs.
        BackendError: The inference library is missing or fails.
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
        """Open an engine folder and a recipe file.

        Args:
            engine: The engine's folder.
            recipe: The recipe file.
            backend: As in `Engine.open`.
            precision: As in `Engine.open`.
            threads: As in `Engine.open`.
            verify: As in `Engine.open`.
            search: As in the constructor.
            trust: As in the constructor.

        Returns:
            The detector.

        Raises:
            EngineError: The engine folder is damaged, or does not support the backend with the precision.
            SettingsError, RecipeError, FileError, BackendError: As in the constructor.
        """
        opened = Engine.open(engine, backend=backend, precision=precision, threads=threads, verify=verify)
        return cls(opened, recipe, search=search, trust=trust)

    def __reduce__(self) -> NoReturn:
        raise EngineError("a Detector cannot be pickled or copied to another process: open one per process")

    def use(self, recipe: Recipe | str | Path) -> None:
        """Change the product. After an error the detector keeps the product that it had.

        If the recipe's memory was computed with another graph of the same encoder, the memory is computed again from
        the recipe's shots. That takes one pass of the encoder over them.

        Args:
            recipe: A recipe, or the path of a recipe file.

        Raises:
            RecipeError: The file is damaged or not signed by a trusted key; or the recipe is of another encoder, or of
                another graph and holds no shots.
            SettingsError: A threshold of the recipe is out of range.
            FileError: The file cannot be read.
            EngineError: The engine lacks the prompted graph that the recipe needs.
            BackendError: The inference library fails.
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
        """The recipe of the product in use."""
        return self._product.recipe

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds in use: the recipe's, until they are set.

        A call of `use` replaces them by the new recipe's thresholds. Setting thresholds that are out of range raises
        SettingsError (`Thresholds.check`).
        """
        return self._product.thresholds

    @thresholds.setter
    def thresholds(self, thresholds: Thresholds) -> None:
        """Set the thresholds until the next `use`."""
        thresholds.check()
        self._product = dataclasses.replace(self._product, thresholds=thresholds)

    @property
    def is_provisional(self) -> bool:
        """Whether the threshold in use rests on a single photo."""
        return self._product.is_provisional

    @property
    def takes_yuv(self) -> bool:
        """Whether a YuvFrame is uploaded to a GPU without conversion; otherwise it is converted to RGB first."""
        return isinstance(self._product.scorer, GpuScorer)

    def predict(self, picture: Picture) -> Inspection:
        """Inspect one picture.

        Args:
            picture: A path, a Pillow image, a YuvFrame, or an array, uint8 or uint16, of shape [H,W] (grey), [H,W,1],
                [H,W,3] (RGB) or [H,W,4] (RGBA). `load_rgb` in runtime/core/preprocess.py tells how each becomes RGB. A
                picture needs at least 8×8 pixels.

        Returns:
            The inspection of the picture.

        Raises:
            ImageError: The picture is damaged, too small, or of another kind.
            FileError: The file cannot be read.
            SettingsError: The recipe's region or mask does not fit the picture.
            EngineError: The encoder gave features that are not finite.
            BackendError: The inference library fails.
        """
        [inspection] = self.predict_batch([picture])
        return dataclasses.replace(inspection, draw=functools.partial(_draw, picture))

    def predict_batch(self, pictures: Iterable[Picture]) -> list[Inspection]:
        """Inspect several pictures in one pass of the encoder.

        Args:
            pictures: The pictures, each as in `predict`; their sizes may differ. All are in memory at once.

        Returns:
            The inspection of each picture, in the pictures' order.

        Raises:
            ImageError: `pictures` is a single picture, or a picture is damaged, too small, or of another kind.
            FileError, SettingsError, EngineError, BackendError: As in `predict`.
        """
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
                f"{self.engine.backend} gave features that are not finite, so there is no verdict: "
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
        """Return the scores of all frames' views, the views, and the seconds of cutting, encoding and scoring."""
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
    """Return why a picture does not show the scene that was learned; None if it does, or if no scene was learned.

    Args:
        scene: The recipe's scene, or UNSET.
        views: The picture's views, [tiles,S,S,3], uint8, RGB.
        grid_memory: The memory scores of its patches, [tiles,h,w], 0 to 1.
    """
    return scene.judge(measure_scene(views, grid_memory)) if scene else None


def _draw(picture: Picture, inspection: Inspection) -> bytes:
    """Return a picture as PNG with its heat-map and verdict."""
    from .overlay import draw_overlay, to_png

    return to_png(draw_overlay(load_rgb(picture), inspection))
