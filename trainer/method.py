"""What a method of learning products is: it prepares a run, learns, and hands back what recipes are composed of.

Methods and their settings are described without torch, so that the command line has its help without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from goodparts.runtime.recipe.product import LearnedProduct, Product, compose_recipe
from goodparts.runtime.recipe.recipe import Recipe

from .settings import Protocol, RunOptions

if TYPE_CHECKING:
    from .clip.backbone import Backbone
    from .conditioned_encoder import ConditionedEncoder
    from .steps import Progress


class Preparation(ABC):
    """Products that are ready to be learned: everything that can be wrong with them has been checked."""

    products: Sequence[Product]

    @abstractmethod
    def learn(self, progress: Progress = iter) -> list[LearnedProduct]:
        """Take all steps and return what was learned of each product, in their order.

        Raises:
            SettingsError: Learning diverged.
        """


class Method(ABC):
    """A method of learning products, with its settings."""

    title: ClassVar[str]
    """The method's name for readers."""
    description: ClassVar[str]
    """What the help of the command line says above the method's settings."""
    protocols: ClassVar[Mapping[Protocol, msgspec.Struct]]
    """Protocol → the method's settings by default, for the protocols that it has."""
    run_options: ClassVar[frozenset[str]] = frozenset()
    """Those of RunOptions that only some methods have and this one does: of textures and resume."""
    learns_together: ClassVar[bool]
    """Whether the products of a run are learned together; if not, each one is prepared and learned on its own."""

    @classmethod
    @abstractmethod
    def configure(cls, protocol: Protocol, changes: Mapping[str, Any]) -> Method:
        """Return the method with a protocol's settings, some of which are changed.

        Raises:
            SettingsError: A setting is out of range, or the method does not have the protocol.
        """

    @abstractmethod
    def word(self, text: str, suffixes: str | None, protocol: Protocol) -> tuple[str, tuple[str, ...]]:
        """Return the text of a product's prompts and the anomaly suffixes that belong to them.

        Args:
            text: The product in the user's words.
            suffixes: Which suffixes the user chose, or None.
            protocol: The protocol of the run.

        Raises:
            SettingsError: There are no such suffixes, or the method takes none.
        """

    @abstractmethod
    def shot_sides(self, image_size: int) -> tuple[int, ...]:
        """Return the side lengths of the views that are learned from, given the encoder's, which comes first."""

    @abstractmethod
    def prompted_encoder(self, backbone: Backbone) -> ConditionedEncoder | None:
        """Return the encoder of the prompted graph that the recipes need; None where they need the plain graph.

        Raises:
            SettingsError: No graph serves these settings.
            BackboneError: The method cannot learn with this backbone.
        """

    @abstractmethod
    def prepare(self, backbone: Backbone, products: Sequence[Product], options: RunOptions) -> Preparation:
        """Check products and make them ready to be learned.

        Raises:
            SettingsError: A prompt does not fit into the text tower, or there is no prompt.
        """


def learn_recipe(
    method: Method, backbone: Backbone, product: Product, graph: str, options: RunOptions | None = None
) -> Recipe:
    """Learn one product and return its recipe for the graph with the id `graph`, without showing progress."""
    options = options or RunOptions()
    [learned] = method.prepare(backbone, [product], options).learn()
    return compose_recipe(backbone.encoder, learned, graph, options)
