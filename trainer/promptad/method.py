"""PromptAD as a method of learning products: each product on its own, with recipes for an engine's plain graph."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from goodparts.runtime.core.scoring import Learned

from ..clip.backbone import Backbone
from ..method import Method, Preparation
from ..product import LearnedProduct, Product, RunOptions
from ..settings import Protocol
from ..steps import Progress
from . import suffixes as suffix_lists
from .learner import PromptLearner, lay_out
from .settings import PROTOCOLS, PromptADSettings, promptad_settings

log = logging.getLogger(__name__)


class PromptAD(Method):
    """PromptAD with its settings."""

    title = "PromptAD"
    description = "defaults: of the clean protocol | of the official one; AnoPLe's, where it has it too"
    protocols: ClassVar[Mapping[Protocol, PromptADSettings]] = PROTOCOLS
    learns_together = False

    def __init__(self, settings: PromptADSettings) -> None:
        self.settings = settings

    @classmethod
    def configure(cls, protocol: Protocol, changes: Mapping[str, Any]) -> PromptAD:
        return cls(promptad_settings(protocol, **changes))

    def word(self, text: str, suffixes: str | None, protocol: Protocol) -> tuple[str, tuple[str, ...]]:
        benchmark_object = suffix_lists.find_object(text) if protocol == "official" else None
        if benchmark_object is not None:  # it has a text and a list of its own (spec D20)
            text = suffix_lists.OBJECT_NAMES.get(benchmark_object, benchmark_object)
        return text, suffix_lists.resolve(suffixes or benchmark_object or "generic")

    def shot_sides(self, image_size: int) -> tuple[int, ...]:
        return (image_size,)

    def prompted_encoder(self, backbone: Backbone) -> None:  # noqa: ARG002
        return None

    def prepare(self, backbone: Backbone, products: Sequence[Product], options: RunOptions) -> PromptADPreparation:
        return PromptADPreparation(backbone, products, self.settings, options.seed)


class PromptADPreparation(Preparation):
    """Products whose prompts fit into the text tower."""

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
            log.info("%s has no meaning for: %s", backbone.encoder.backbone, ", ".join(unknown))
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
            ),
            features=features,
            encode=backbone.encode,
            fusion=settings.fusion,
            memory_share=settings.memory_share,
        )
