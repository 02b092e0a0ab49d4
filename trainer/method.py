"""The interface of methods that learn products: a method prepares a run, learns, and returns the content of recipes.

Methods and their settings are described without importing torch, so that the command line shows its help without it.
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
    """Products that are ready to be learned: their photos, texts and settings have been checked."""

    products: Sequence[Product]

    @abstractmethod
    def learn(self, progress: Progress = iter) -> list[LearnedProduct]:
        """Take all steps of learning.

        Args:
            progress: Shows how many steps are done.

        Returns:
            The learned products, in the order of `products`.

        Raises:
            SettingsError: Learning diverged.
        """


class Method(ABC):
    """A method of learning products, with its settings."""

    title: ClassVar[str]
    """The method's name for readers."""
    description: ClassVar[str]
    """The line above the method's settings in the command line's help."""
    protocols: ClassVar[Mapping[Protocol, msgspec.Struct]]
    """Protocol → the method's default settings, for the protocols that it has."""
    run_options: ClassVar[frozenset[str]] = frozenset()
    """Which of the fields `textures` and `resume` of RunOptions the method uses; every method uses the other fields."""
    learns_together: ClassVar[bool]
    """Whether the products of a run are learned together; if not, each product is prepared and learned separately."""

    @classmethod
    @abstractmethod
    def configure(cls, protocol: Protocol, changes: Mapping[str, Any]) -> Method:
        """Return the method with a protocol's settings, some of them changed.

        Args:
            protocol: The protocol.
            changes: Field of the settings → its value.

        Raises:
            SettingsError: A setting is out of range, or the method does not have the protocol.
        """

    @abstractmethod
    def word(self, text: str, suffixes: str | None, protocol: Protocol) -> tuple[str, tuple[str, ...]]:
        """Return the text of a product's prompts and its anomaly suffixes, which are templates with {} for the product.

        Args:
            text: The product in the user's words.
            suffixes: The user's choice of suffixes, or None.
            protocol: The protocol of the run.

        Raises:
            SettingsError: There are no such suffixes, or the method takes none.
        """

    @abstractmethod
    def shot_sides(self, image_size: int) -> tuple[int, ...]:
        """Return the sides in pixels of the views that are learned from; the encoder's side is the first.

        Args:
            image_size: The side of the encoder's pictures in pixels.
        """

    @abstractmethod
    def prompted_encoder(self, backbone: Backbone) -> ConditionedEncoder | None:
        """Return the encoder of the prompted graph that the recipes need; None if they need the plain graph.

        Args:
            backbone: The backbone.

        Raises:
            SettingsError: No graph serves the method's settings.
            BackboneError: The method cannot learn with this backbone.
        """

    @abstractmethod
    def prepare(self, backbone: Backbone, products: Sequence[Product], options: RunOptions) -> Preparation:
        """Check products and make them ready to be learned.

        Args:
            backbone: The backbone.
            products: The products.
            options: The options of the run.

        Returns:
            The products, ready to be learned.

        Raises:
            SettingsError: A prompt does not fit into the text tower, or there is no prompt.
        """


def learn_recipe(
    method: Method, backbone: Backbone, product: Product, graph: str, options: RunOptions | None = None
) -> Recipe:
    """Learn one product without showing progress.

    Args:
        method: The method.
        backbone: The backbone.
        product: The product.
        graph: The id of the engine's graph that the recipe is for.
        options: The options of the run; None for the defaults.

    Returns:
        The product's recipe.
    """
    options = options or RunOptions()
    [learned] = method.prepare(backbone, [product], options).learn()
    return compose_recipe(backbone.encoder, learned, graph, options)
