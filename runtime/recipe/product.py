"""A product before and after learning, and the composition of its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from ..core.conditions import Conditions
from ..core.errors import SettingsError
from ..core.scoring import Features, Learned
from ..core.view import View
from ..engine.spec import Encoder
from .calibrate import FALSE_REJECT_RATE, Encode, check_false_reject_rate
from .header import FORMAT_VERSION, PROMPTED_VERSION, RecipeHeader, Thresholds
from .memory import fit_memory
from .recipe import Recipe
from .shots import Shots

LIBRARIES = ("goodparts", "numpy", "pillow")
"""The packages whose versions are written into every recipe, with those of LearnedProduct.libraries."""


@dataclass(frozen=True, eq=False)
class Product:
    """A product to learn.

    Attributes:
        text: The product in words, as in "metal nut".
        suffixes: What can be wrong with it, as templates with {} for the product; empty for a method without them.
        view: Which part of a photo is inspected, and in how many tiles.
        shots: The photos of good parts.
    """

    text: str
    suffixes: tuple[str, ...]
    view: View
    shots: Shots


@dataclass(frozen=True)
class LearningOptions:
    """The options of learning that every product and every method share.

    Attributes:
        seed: The seed of everything that is drawn at random, from 0 to 2^63−1.
        protocol: Whether the paper ("clean") or its released code ("official") is followed.
        false_reject_rate: The share of good parts that may be rejected, between 0 and 0.5.

    Raises:
        SettingsError: The rate or the seed is out of range.
    """

    seed: int = 0
    protocol: Literal["clean", "official"] = "clean"
    false_reject_rate: float = FALSE_REJECT_RATE

    def __post_init__(self) -> None:
        check_false_reject_rate(self.false_reject_rate)
        if not 0 <= self.seed < 2**63:
            raise SettingsError(f"--seed {self.seed}: a whole number from 0 to 2^63−1")


@dataclass(frozen=True, eq=False)
class LearnedProduct:
    """The result of learning a product by one method.

    Attributes:
        product: The product that was learned.
        method: The method's name in the recipe.
        settings: The method's settings in the recipe.
        prompts: The prompts of both levels and how they are scored and fused; its memory is still empty.
        features: The features of the shots' views, as `encode` gives them.
        encode: Encodes views as the recipe's graph does.
        memory_share: The share of the shots' patches to remember, above 0 and up to 1.
        poses: Whether the shots are remembered turned and mirrored too.
        conditions: The inputs of the prompted graph, or None for a product of the plain graph.
        libraries: The packages that learned it, whose versions the recipe names.
    """

    product: Product
    method: str
    settings: dict[str, Any]
    prompts: Learned
    features: Features
    encode: Encode
    memory_share: float = 1.0
    poses: bool = False
    conditions: Conditions | None = None
    libraries: tuple[str, ...] = ()


def one_line(text: str) -> str:
    """Return a product's text with single spaces.

    Args:
        text: The product's text as the user typed it.

    Raises:
        SettingsError: The text is empty.
    """
    words = " ".join(text.split())
    if not words:
        raise SettingsError('--product is empty: name the product in words, as in --product "metal nut"')
    return words


def compose_recipe(encoder: Encoder, learned: LearnedProduct, graph: str, options: LearningOptions) -> Recipe:
    """Fill the memory of a learned product, calibrate it on its shots, and compose its recipe.

    Args:
        encoder: The encoder that the product was learned with.
        learned: The learned product.
        graph: The id of the engine's graph that the recipe is for.
        options: The options that the product was learned with.

    Returns:
        The recipe, which is not written yet.
    """
    product = learned.product
    views = product.shots.views[encoder.image_size]
    memory = fit_memory(
        learned.prompts, learned.features, views, product.view.count, learned.encode,
        share=learned.memory_share, poses=learned.poses,
    )  # fmt: skip
    calibration, rate = memory.calibration, options.false_reject_rate
    header = RecipeHeader(
        version=FORMAT_VERSION if learned.conditions is None else PROMPTED_VERSION,
        product=product.text,
        method=learned.method,
        protocol=options.protocol,
        settings=learned.settings,
        encoder=encoder,
        graph=graph,
        view=product.view,
        temperature=learned.prompts.temperature,
        image_maximum=learned.prompts.image_maximum,
        fusion=learned.prompts.fusion,
        residual_weight=learned.prompts.residual_weight,
        memory_share=learned.memory_share,
        poses=learned.poses,
        shots=tuple(product.shots.manifest),
        shot_calibration=calibration,
        calibration=calibration,
        false_reject_rate=rate,
        thresholds=Thresholds(image=calibration.image.threshold(rate), pixel=calibration.pixel.threshold(rate)),
        seed=options.seed,
        versions={library: version(library) for library in (*LIBRARIES, *learned.libraries)},
        scene=memory.scene,
    )
    return Recipe(
        header,
        learned.prompts.image_prompts,
        learned.prompts.pixel_prompts,
        memory.banks,
        memory.shot_of_row,
        memory.margins,
        views,
        learned.conditions,
    )
