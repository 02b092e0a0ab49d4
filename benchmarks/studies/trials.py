"""Trials: a product is learned from a few shots, and its tests are scored. The encoder runs in torch.

The parity check of the export ensures that every engine gives the same scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from goodparts.evaluation.metrics.image import auroc
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import (
    MAP_SIGMA,
    MAP_SIZE,
    Branches,
    Floats,
    Fusion,
    Learned,
    anomaly_map,
    combine,
    score_branches,
)
from goodparts.runtime.recipe.calibrate import Calibration
from goodparts.runtime.recipe.memory import Memory, fit_memory
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.learner import PromptLearner
from goodparts.trainer.promptad.settings import PROTOCOLS, PromptADSettings

from .products import MeasuredProduct

DEFAULT = PROTOCOLS["clean"]
DRAWS = 4
"""The largest number of draws of shots from the good photos of one product. The draws have no photo in common."""
MAP_SIDE = 120
"""The side of the maps for the pixel AUROC: every second pixel of the square that the small backbone reads."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A product learned from some shots, and the scores of its tests.

    Attributes:
        product: The product, whose pool the shots are from.
        shots: The photos that were learned from, uint8 RGB [k,S,S,3].
        learned: What scoring needs of the learned product.
        calibration: What the shots score.
        branches: The scores of both branches for every test, from which every fusion follows.
    """

    product: MeasuredProduct
    shots: Array8
    learned: Learned
    calibration: Calibration
    branches: Branches

    def scores(self, fusion: Fusion) -> tuple[Floats, Floats]:
        """Return image scores [N] and patch scores [N,h,w] of the tests.

        Args:
            fusion: How the branches become one score.
        """
        fused = combine(self.branches, dataclasses.replace(self.learned, fusion=fusion))
        return fused.image, fused.grid

    def aurocs(self, fusion: Fusion) -> tuple[float, float]:
        """Return the AUROC over the images, and the AUROC over the pixels of all maps.

        Args:
            fusion: How the branches become one score.
        """
        image, grids = self.scores(fusion)
        maps = np.stack([anomaly_map(grid, MAP_SIDE, MAP_SIGMA * MAP_SIDE / MAP_SIZE) for grid in grids])
        step = self.product.masks.shape[1] // MAP_SIDE
        masks = self.product.masks[:, step // 2 :: step, step // 2 :: step]
        return auroc(self.product.bad, image), auroc(masks, maps)


class EncodedProducts:
    """The products of one set and a backbone. The tests are encoded once.

    Attributes:
        backbone: The backbone that encodes shots and tests.
        tests: Each product with the features of its tests.

    Args:
        products: The products of the set.
        backbone: The backbone that encodes them.
    """

    def __init__(self, products: list[MeasuredProduct], backbone: Backbone) -> None:
        self.backbone = backbone
        self.tests = [(product, backbone.encode(product.tests)) for product in products]

    def trials(self, shots: int, training: PromptADSettings = DEFAULT) -> Iterator[tuple[Trial, Array8]]:
        """Yield a trial for each draw of shots, and the good photos that were not drawn.

        There is one draw for each product, or up to DRAWS if there is only one product.

        Args:
            shots: The number of photos of a draw.
            training: The method's settings.

        Yields:
            The trial, and the other photos of the pool, uint8 RGB [n,S,S,3].
        """
        for product, tests in self.tests:
            draws = DRAWS if len(self.tests) == 1 else 1
            for seed in range(min(draws, len(product.pool) // shots)):
                drawn = slice(seed * shots, (seed + 1) * shots)
                learned, memory = learn(self.backbone, product.text, product.pool[drawn], 1, training, seed)
                branches = score_branches(tests, learned)
                trial = Trial(product, product.pool[drawn], learned, memory.calibration, branches)
                yield trial, np.delete(product.pool, drawn, axis=0)


def learn(
    backbone: Backbone, text: str, views: Array8, per_photo: int, training: PromptADSettings = DEFAULT, seed: int = 0
) -> tuple[Learned, Memory]:
    """Learn a product from the views of its shots.

    Args:
        backbone: The backbone that encodes the views.
        text: The product in words.
        views: The views, uint8 RGB [n·per_photo,S,S,3].
        per_photo: The number of views of each photo.
        training: The method's settings.
        seed: The seed of the initial prompts.

    Returns:
        What scoring needs, and the memory with its calibration.
    """
    features = backbone.encode(views)
    learner = PromptLearner(backbone, features, text, settings=training, seed=seed)
    prompts = learner.learn()
    learned = Learned(
        prompts.image, prompts.pixel, (), learner.temperature, training.image_maximum,
        fusion=training.fusion, residual_weight=backbone.residual_weight,
    )  # fmt: skip
    memory = fit_memory(learned, features, views, per_photo, backbone.encode)
    banks = tuple(bank.astype(np.float32) for bank in memory.banks)
    return dataclasses.replace(learned, banks=banks, margins=memory.margins, shot_of_row=memory.shot_of_row), memory
