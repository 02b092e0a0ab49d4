"""The memory as a method, for backbones with text or without; its recipes are for an engine's plain graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scoring import ImageMaximum
from goodparts.runtime.recipe.product import LearnedProduct, Product
from goodparts.runtime.recipe.teach import no_prompts
from msgspec import Meta

from ..method import Method, Preparation
from ..settings import Protocol, RunOptions, change_settings

if TYPE_CHECKING:
    from ..clip.backbone import Backbone
    from ..steps import Progress


class MemorySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The method's settings: which patches of the shots are remembered, and how a photo is compared with them."""

    memory_share: Annotated[float, Meta(gt=0, le=1, description="share of the shots' patches to remember")] = 1.0
    poses: Annotated[bool, Meta(description="also remember each shot turned and mirrored")] = False
    image_maximum: Annotated[ImageMaximum, Meta(description="where the image score takes the memory's maximum")] = "top"
    subspace: Annotated[
        bool,
        Meta(
            description="score a patch by its distance from the mean and the components of the remembered patches "
            "(SubspaceAD), not from the nearest patch; only the Python runtime can do this"
        ),
    ] = False


class MemoryOnly(Method):
    """The memory with its settings.

    Args:
        settings: The settings.
    """

    title = "the memory only"
    description = "in addition to --memory-share, --poses and --image-maximum, which other methods have too"
    protocols: ClassVar[Mapping[Protocol, MemorySettings]] = {"clean": MemorySettings()}
    learns_together = False

    def __init__(self, settings: MemorySettings) -> None:
        self.settings = settings

    @classmethod
    def configure(cls, protocol: Protocol, changes: Mapping[str, Any]) -> MemoryOnly:
        if protocol not in cls.protocols:
            raise SettingsError("--protocol official: the memory has no released code; leave --protocol out")
        return cls(change_settings(cls.protocols[protocol], changes))

    def word(self, text: str, suffixes: str | None, protocol: Protocol) -> tuple[str, tuple[str, ...]]:  # noqa: ARG002
        if suffixes is not None:
            raise SettingsError("--suffixes: the memory learns no prompts; leave them out")
        return text, ()

    def shot_sides(self, image_size: int) -> tuple[int, ...]:
        return (image_size,)

    def prompted_encoder(self, backbone: Backbone) -> None:  # noqa: ARG002
        return None

    def prepare(
        self,
        backbone: Backbone,
        products: Sequence[Product],
        options: RunOptions,  # noqa: ARG002
    ) -> Preparation:
        return MemoryPreparation(backbone, products, self.settings)


class MemoryPreparation(Preparation):
    """Products whose memory is learned, without prompts.

    Args:
        backbone: The backbone.
        products: The products.
        settings: The method's settings.
    """

    def __init__(self, backbone: Backbone, products: Sequence[Product], settings: MemorySettings) -> None:
        self.products = products
        self._backbone = backbone
        self._settings = settings

    def learn(self, progress: Progress = iter) -> list[LearnedProduct]:  # noqa: ARG002
        encoder = self._backbone.encoder
        return [
            LearnedProduct(
                product=product,
                method="memory",
                settings=msgspec.structs.asdict(self._settings),
                prompts=no_prompts(
                    encoder, "subspace" if self._settings.subspace else "memory", self._settings.image_maximum
                ),
                features=self._backbone.encode(product.shots.views[encoder.image_size]),
                encode=self._backbone.encode,
                memory_share=self._settings.memory_share,
                poses=self._settings.poses,
                libraries=("torch",),
            )
            for product in self.products
        ]
