"""Products that are ready for AnoPLe, which learns all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from goodparts.runtime.core.scoring import Learned
from goodparts.runtime.recipe.product import LearnedProduct, Product

from ..clip.backbone import Backbone
from ..method import Preparation
from ..settings import LIBRARIES
from ..steps import Progress
from .encoder import conditions_of
from .learner import AnoPLeLearner


class AnoPLePreparation(Preparation):
    """Products and the one learner that learns all of them.

    Args:
        backbone: The backbone that the learner uses.
        products: The products.
        learner: The learner of these products, in their order.
        checkpoint: A file that keeps the state of learning; None keeps none.
    """

    def __init__(
        self, backbone: Backbone, products: Sequence[Product], learner: AnoPLeLearner, checkpoint: Path | None
    ) -> None:
        self.products = products
        self._backbone = backbone
        self._learner = learner
        self._checkpoint = checkpoint

    def learn(self, progress: Progress = iter) -> list[LearnedProduct]:
        self._learner.learn(progress, self._checkpoint)
        return learned_products(self._backbone, self._learner, self.products)


def learned_products(backbone: Backbone, learner: AnoPLeLearner, products: Sequence[Product]) -> list[LearnedProduct]:
    """Return each product with the current state of its learning.

    Args:
        backbone: The backbone that the learner uses.
        learner: The learner.
        products: The learner's products, in their order.
    """
    settings = learner.settings
    conditions = conditions_of(learner.model)
    return [
        LearnedProduct(
            product=product,
            method="anople",
            settings=msgspec.structs.asdict(settings),
            prompts=Learned(
                prototypes,
                prototypes,
                (),
                settings.temperature,
                settings.image_maximum,
                fusion=settings.fusion,
                residual_weight=backbone.residual_weight,
            ),
            features=learner.encode(product.shots.views[backbone.encoder.image_size]),
            encode=learner.encode,
            poses=settings.poses,
            conditions=conditions,
            libraries=LIBRARIES,
        )
        for product, prototypes in zip(products, learner.prototypes(), strict=True)
    ]
