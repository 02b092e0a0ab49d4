"""Products that are ready for PromptAD, which learns each of them separately."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec
from goodparts.runtime.core.scoring import Learned
from goodparts.runtime.recipe.product import LearnedProduct, Product

from ..clip.backbone import Backbone
from ..method import Preparation
from ..settings import LIBRARIES
from ..steps import Progress
from .learner import PromptLearner, lay_out
from .settings import PromptADSettings

log = logging.getLogger(__name__)


class PromptADPreparation(Preparation):
    """Products whose prompts fit into the text tower.

    Args:
        backbone: The backbone, which has to have a text tower.
        products: The products.
        settings: The method's settings.
        seed: The seed of the initial prompts.

    Raises:
        SettingsError: The backbone has no text tower, a prompt does not fit into it, or there is no anomaly prompt.
    """

    def __init__(self, backbone: Backbone, products: Sequence[Product], settings: PromptADSettings, seed: int) -> None:
        for product in products:
            lay_out(product.text, product.suffixes, settings, backbone.text.context_length)
        self.products = products
        self._backbone = backbone
        self._settings = settings
        self._seed = seed

    def learn(self, progress: Progress = iter) -> list[LearnedProduct]:
        return [self._learn_product(product, progress) for product in self.products]

    def _learn_product(self, product: Product, progress: Progress) -> LearnedProduct:
        backbone, settings = self._backbone, self._settings
        if unknown := backbone.unknown_words([product.text, *product.suffixes]):
            log.info("%s has not learned these words: %s", backbone.encoder.backbone, ", ".join(unknown))
        features = backbone.encode(product.shots.views[backbone.encoder.image_size])
        learner = PromptLearner(backbone, features, product.text, product.suffixes, settings, self._seed)
        prototypes = learner.learn(progress)
        return LearnedProduct(
            product=product,
            method="promptad",
            settings={**msgspec.structs.asdict(settings), "suffixes": list(product.suffixes)},
            prompts=Learned(
                image_prompts=prototypes.image,
                pixel_prompts=prototypes.pixel,
                banks=(),
                temperature=learner.temperature,
                image_maximum=settings.image_maximum,
                fusion=settings.fusion,
                residual_weight=backbone.residual_weight,
            ),
            features=features,
            encode=backbone.encode,
            memory_share=settings.memory_share,
            poses=settings.poses,
            libraries=LIBRARIES,
        )
