"""PromptAD as a method: it learns each product separately, with recipes for an engine's plain graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from goodparts.runtime.recipe.product import Product

from ..method import Method, Preparation
from ..settings import Protocol, RunOptions
from . import suffixes as suffix_lists
from .settings import PROTOCOLS, PromptADSettings, promptad_settings

if TYPE_CHECKING:
    from ..clip.backbone import Backbone


class PromptAD(Method):
    """PromptAD with its settings.

    Args:
        settings: The settings.
    """

    title = "PromptAD"
    description = "other methods share some of these options; the help names their defaults if they differ"
    protocols: ClassVar[Mapping[Protocol, PromptADSettings]] = PROTOCOLS
    learns_together = False

    def __init__(self, settings: PromptADSettings) -> None:
        self.settings = settings

    @classmethod
    def configure(cls, protocol: Protocol, changes: Mapping[str, Any]) -> PromptAD:
        return cls(promptad_settings(protocol, **changes))

    def word(self, text: str, suffixes: str | None, protocol: Protocol) -> tuple[str, tuple[str, ...]]:
        benchmark_object = suffix_lists.find_object(text) if protocol == "official" else None
        if benchmark_object is not None:  # it has its own text and suffixes (docs/promptad.md, D20)
            text = suffix_lists.OBJECT_NAMES.get(benchmark_object, benchmark_object)
        return text, suffix_lists.resolve(suffixes or benchmark_object or "generic")

    def shot_sides(self, image_size: int) -> tuple[int, ...]:
        return (image_size,)

    def prompted_encoder(self, backbone: Backbone) -> None:  # noqa: ARG002
        return None

    def prepare(self, backbone: Backbone, products: Sequence[Product], options: RunOptions) -> Preparation:
        from .preparation import PromptADPreparation

        return PromptADPreparation(backbone, products, self.settings, options.seed)
