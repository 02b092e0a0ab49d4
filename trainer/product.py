"""A product before and after learning, and the recipe that is composed of what was learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.scoring import Features, Learned
from goodparts.runtime.core.view import View
from goodparts.runtime.recipe.calibrate import FALSE_REJECT_RATE, Encode
from goodparts.runtime.recipe.header import FORMAT_VERSION, PROMPTED_VERSION, RecipeHeader, Thresholds
from goodparts.runtime.recipe.memory import Fusion, fit_memory
from goodparts.runtime.recipe.recipe import Recipe

from .settings import Protocol
from .shots import Shots

if TYPE_CHECKING:
    from .clip.backbone import Backbone

LIBRARIES = ("goodparts", "torch", "open_clip_torch", "numpy", "pillow")
"""Their versions are written into every recipe."""


@dataclass(frozen=True, eq=False)
class Product:
    """A product to learn.

    Attributes:
        text: The product in words, as in "metal nut".
        suffixes: What can be wrong with it, as templates with {} for the product; empty for a method without them.
        view: Which part of a photo is looked at, and in how many tiles.
        shots: The photos of good parts.
    """

    text: str
    suffixes: tuple[str, ...]
    view: View
    shots: Shots


@dataclass(frozen=True)
class RunOptions:
    """How a run learns, whatever its products are.

    Attributes:
        seed: Of everything that is drawn at random, from 0 to 2^63−1.
        protocol: Whether the paper or its released code is followed.
        false_reject_rate: The share of good parts that may be rejected, between 0 and 0.5.
        textures: Pictures that painted defects are filled with; without any, drawn ones and pieces of the shots.
        resume: The file in which the state of learning is kept, from which a killed run goes on; None keeps none.
    """

    seed: int = 0
    protocol: Protocol = "clean"
    false_reject_rate: float = FALSE_REJECT_RATE
    textures: Sequence[Path] = ()
    resume: Path | None = None


@dataclass(frozen=True, eq=False)
class LearnedProduct:
    """What a method learned of a product.

    Attributes:
        product: The product.
        method: The method's name in the recipe.
        settings: The method's settings in the recipe.
        prompts: The prompts of both levels and how they are scored; its memory is still empty.
        features: Of the shots' views, as `encode` gives them.
        encode: Encodes views as the recipe's graph will.
        fusion: How the scores of prompts and memory are combined.
        memory_share: The share of the shots' patches to remember, above 0 and up to 1.
        conditions: The inputs of the prompted graph, or None for a product of the plain graph.
    """

    product: Product
    method: str
    settings: dict[str, Any]
    prompts: Learned
    features: Features
    encode: Encode
    fusion: Fusion
    memory_share: float = 1.0
    conditions: Conditions | None = None


def compose_recipe(backbone: Backbone, learned: LearnedProduct, graph: str, options: RunOptions) -> Recipe:
    """Fill the memory of a learned product, calibrate it on its shots, and return its recipe.

    Args:
        backbone: The backbone that the product was learned with.
        learned: What was learned.
        graph: The id of the engine's graph that the recipe is for.
        options: The options of the run that learned it.
    """
    product = learned.product
    views = product.shots.views[backbone.encoder.image_size]
    memory = fit_memory(
        learned.prompts, learned.features, views, product.view.count, learned.encode,
        fusion=learned.fusion, share=learned.memory_share,
    )  # fmt: skip
    calibration, rate = memory.calibration, options.false_reject_rate
    header = RecipeHeader(
        version=FORMAT_VERSION if learned.conditions is None else PROMPTED_VERSION,
        product=product.text,
        method=learned.method,
        protocol=options.protocol,
        settings=learned.settings,
        encoder=backbone.encoder,
        graph=graph,
        view=product.view,
        temperature=learned.prompts.temperature,
        image_maximum=learned.prompts.image_maximum,
        fusion=learned.fusion,
        scales=memory.scales,
        memory_share=learned.memory_share,
        shots=tuple(product.shots.manifest),
        shot_calibration=calibration,
        calibration=calibration,
        false_reject_rate=rate,
        thresholds=Thresholds(image=calibration.image.threshold(rate), pixel=calibration.pixel.threshold(rate)),
        seed=options.seed,
        versions={library: version(library) for library in LIBRARIES},
        scene=memory.scene,
    )
    return Recipe(
        header,
        learned.prompts.image_prompts,
        learned.prompts.pixel_prompts,
        memory.banks,
        memory.shot_of_row,
        views,
        learned.conditions,
    )
