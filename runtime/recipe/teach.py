"""Learning a product without torch: prompts of an engine's own text features, and the memory of a few photos.

    recipe = teach("photos/good", "metal nut")
    recipe.save("nut.safetensors")

The prompts are those of a generic part, the same for every product. All that is learned of a product is its memory and
what its own shots score; `train-and-export --refine` learns prompts of its own from the same shots. With an engine
whose encoder has no text, the memory is all that is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SettingsError
from ..core.scoring import RESIDUAL_WEIGHT, Fusion, ImageMaximum, Learned
from ..core.view import View
from ..engine.engine import Engine
from ..engine.parity import TEMPERATURE
from ..engine.spec import Encoder
from .calibrate import FALSE_REJECT_RATE
from .product import LearnedProduct, LearningOptions, Product, compose_recipe, one_line
from .recipe import Recipe
from .shots import choose_shots, load_shots

METHOD = "taught"
"""The method's name in a recipe."""


def teach(
    images: str | Path | Sequence[str | Path],
    product: str,
    *,
    engine: Engine | None = None,
    view: View | None = None,
    shots: int | None = None,
    false_reject_rate: float = FALSE_REJECT_RATE,
    poses: bool = False,
    memory_share: float = 1.0,
) -> Recipe:
    """Learn a product from a few photos of good parts, without torch.

    Args:
        images: A photo, a folder of photos, or several of either.
        product: What the product is called; the prompts do not depend on it.
        engine: The engine that encodes the photos; the one that ships with goodparts where None.
        view: Which part of a photo is looked at, and in how many tiles; the whole of it where None.
        shots: How many of the photos are learned from, the first by name; all of them where None, up to 64.
        false_reject_rate: The share of good parts that may be rejected, above 0 and below 0.5.
        poses: Whether the photos are remembered turned and mirrored too, for parts that may lie in any way.
        memory_share: The share of the photos' patches to remember, the most different first, above 0 and up to 1.

    Returns:
        The recipe, which is not written yet; its thresholds rest on the photos themselves.

    Raises:
        SettingsError: A value is out of range, two photos are the same, or the view does not fit a photo.
        FileError, ImageError: A photo cannot be found or read.
        EngineError: The engine's encoder has text, but the engine has no text features.
        BackendError: The inference library is missing or fails.
    """
    name = one_line(product)
    if not 0.0 < memory_share <= 1.0:
        raise SettingsError(f"--memory-share {memory_share}: above 0 and up to 1, as in 0.25")
    options = LearningOptions(false_reject_rate=false_reject_rate)
    places = [images] if isinstance(images, (str, Path)) else images
    photos = choose_shots([Path(place) for place in places], shots)
    engine = engine or Engine.open(verify=True)
    view = view or View()
    loaded = load_shots(photos, view, (engine.encoder.image_size,))
    return teach_product(engine, Product(name, (), view, loaded), options, poses=poses, memory_share=memory_share)


def no_prompts(encoder: Encoder, fusion: Fusion = "memory", image_maximum: ImageMaximum = "top") -> Learned:
    """Return what is scored of a product of which only the memory is known: prompts that are 0, which nothing reads.

    fusion: "memory" or "subspace"; image_maximum: "top" was the better one on drawn and painted parts and on solar
    cells (docs/backbones.md).
    """
    nothing = np.zeros((2, encoder.width), np.float32)
    return Learned(nothing, nothing, (), TEMPERATURE, image_maximum, fusion=fusion)


def teach_product(
    engine: Engine,
    product: Product,
    options: LearningOptions | None = None,
    *,
    poses: bool = False,
    memory_share: float = 1.0,
) -> Recipe:
    """Learn a product from its shots and return its recipe, for the graph that is open.

    Args:
        engine: The engine that encodes the shots.
        product: The product; it has views of the encoder's side, and its suffixes are not used.
        options: The options of learning; their defaults where None.
        poses: As in `teach`.
        memory_share: As in `teach`.

    Raises:
        EngineError: The engine's encoder has text, but the engine has no text features.
        BackendError: The inference library fails.
    """
    settings: dict[str, Any] = {}
    if engine.encoder.has_text:
        text = engine.read_text_features()
        settings = {"part": text.part, "suffixes": list(text.suffixes)}
        prototypes = text.prototypes()
        prompts = Learned(
            prototypes,
            prototypes,
            (),
            TEMPERATURE,
            "grid",
            fusion="residual",
            residual_weight=RESIDUAL_WEIGHT * text.scale,
        )
    else:
        prompts = no_prompts(engine.encoder)
    learned = LearnedProduct(
        product=product,
        method=METHOD,
        settings=settings,
        prompts=prompts,
        features=engine.encode(product.shots.views[engine.encoder.image_size]),
        encode=engine.encode,
        poses=poses,
        memory_share=memory_share,
    )
    return compose_recipe(engine.encoder, learned, engine.graph_id(), options or LearningOptions())
