"""AnoPLe as a method: it learns all products of a run together, with recipes for an engine's prompted graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.recipe.product import Product

from ..method import Method, Preparation
from ..settings import Protocol, RunOptions
from .settings import DEFAULT, AnoPLeSettings, anople_settings

if TYPE_CHECKING:
    from ..clip.backbone import Backbone
    from .encoder import PromptedEncoder


class AnoPLe(Method):
    """AnoPLe with its settings.

    Args:
        settings: The settings.
    """

    title = "AnoPLe"
    description = "for --method anople; docs/anople.md lists the assumptions"
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
            raise SettingsError("--suffixes: AnoPLe learns from painted defects and takes no suffixes; leave it out")
        return text, ()

    def shot_sides(self, image_size: int) -> tuple[int, ...]:
        return image_size, 2 * image_size

    def prompted_encoder(self, backbone: Backbone) -> PromptedEncoder:
        from .encoder import PromptedEncoder

        return PromptedEncoder(backbone, self.settings)

    def prepare(self, backbone: Backbone, products: Sequence[Product], options: RunOptions) -> Preparation:
        from .learner import AnoPLeLearner
        from .model import Subject
        from .preparation import AnoPLePreparation

        side = 2 * backbone.encoder.image_size
        subjects = [Subject(product.text, product.shots.views[side]) for product in products]
        learner = AnoPLeLearner(backbone, subjects, self.settings, options.seed, options.textures)
        return AnoPLePreparation(backbone, products, learner, options.resume)
