"""AnoPLe as a method of learning products: all of them together, with recipes for an engine's prompted graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scoring import Learned

from ..clip.backbone import Backbone
from ..method import Method, Preparation
from ..product import LearnedProduct, Product, RunOptions
from ..settings import Protocol
from ..steps import Progress
from .encoder import PromptedEncoder, conditions_of
from .learner import AnoPLeLearner
from .model import Subject
from .settings import DEFAULT, AnoPLeSettings, anople_settings


class AnoPLe(Method):
    """AnoPLe with its settings."""

    title = "AnoPLe"
    description = "with --method anople; docs/anople.md says what is assumed"
    protocols: ClassVar[Mapping[Protocol, AnoPLeSettings]] = {"clean": DEFAULT}
    run_options = frozenset({"textures", "resume"})
    learns_together = True

    def __init__(self, settings: AnoPLeSettings) -> None:
        self.settings = settings

    @classmethod
    def configure(cls, protocol: Protocol, changes: Mapping[str, Any]) -> AnoPLe:
        if protocol not in cls.protocols:
            raise SettingsError(
                f"--protocol {protocol} reproduces PromptAD's released code: AnoPLe has none, leave it out"
            )
        return cls(anople_settings(**changes))

    def word(self, text: str, suffixes: str | None, protocol: Protocol) -> tuple[str, tuple[str, ...]]:  # noqa: ARG002
        if suffixes is not None:
            raise SettingsError("--suffixes: AnoPLe knows no defects but those it paints, leave it out")
        return text, ()

    def shot_sides(self, image_size: int) -> tuple[int, ...]:
        return image_size, 2 * image_size

    def prompted_encoder(self, backbone: Backbone) -> PromptedEncoder:
        return PromptedEncoder(backbone, self.settings)

    def prepare(self, backbone: Backbone, products: Sequence[Product], options: RunOptions) -> AnoPLePreparation:
        side = 2 * backbone.encoder.image_size
        subjects = [Subject(product.text, product.shots.views[side]) for product in products]
        learner = AnoPLeLearner(backbone, subjects, self.settings, options.seed, options.textures)
        return AnoPLePreparation(backbone, products, learner, options.resume)


class AnoPLePreparation(Preparation):
    """Products and the learner of all of them."""

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
    """Return what a learner knows of each of its products, in their order, as its prompts stand."""
    settings = learner.settings
    conditions = conditions_of(learner.model)
    return [
        LearnedProduct(
            product=product,
            method="anople",
            settings=msgspec.structs.asdict(settings),
            prompts=Learned(prototypes, prototypes, (), settings.temperature, settings.image_maximum),
            features=learner.encode(product.shots.views[backbone.encoder.image_size]),
            encode=learner.encode,
            fusion=settings.fusion,
            conditions=conditions,
        )
        for product, prototypes in zip(products, learner.prototypes(), strict=True)
    ]
