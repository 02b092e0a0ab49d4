"""Learns a product without torch, from prompts of the engine's text features and the memory of a few photos.

The prompts describe a generic part and are the same for every product. Only the memory and the calibration are learned
for a product; `train-and-export --refine` learns its prompts too, from the same shots. If the engine's encoder has no
text, only the memory is scored.
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

        recipe = teach("photos/good", "metal nut")
        recipe.save("nut.safetensors")

    Args:
        images: A photo, a folder of photos, or several of either. A folder is searched at every depth, and its photos
            are sorted by path.
        product: The product's name, as in "metal nut". It has no effect on scores.
        engine: The engine that encodes the photos. None opens the one that ships with goodparts.
        view: Which part of a photo is inspected, and in how many tiles. None inspects the whole photo in one tile.
        shots: How many photos to learn from, 1 to 64; the first of them are taken. None takes all, up to 64.
        false_reject_rate: The share of good parts that may be rejected, above 0 and below 0.5.
        poses: Whether to remember the photos in seven more poses, turned by quarters and mirrored.
        memory_share: The share of the photos' patches to remember, above 0 and up to 1; the most different ones are
            kept.

    Returns:
        The recipe. It is not written yet. Its thresholds rest on the photos themselves, so test them on further parts.

    Raises:
        SettingsError: No photo is given, a value is out of range, two photos are the same, or the view does not fit a
            photo.
        FileError: A photo or folder cannot be found or read, or a folder holds no photo.
        ImageError: A photo is damaged, or is not a picture.
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
    """Return a product without prompts, which is scored by its memory. Its prompts are 0; no score depends on them.

    Args:
        encoder: The encoder, whose joint width the prompts get.
        fusion: "memory" or "subspace".
        image_maximum: How the memory's image score is computed. "top" was the best on drawn and painted parts and on
            solar cells (docs/backbones.md).
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
    """Learn a product from its shots, for the graph that is open.

    Args:
        engine: The engine that encodes the shots.
        product: The product. Its views must have the encoder's side length; its suffixes are not used.
        options: The options of learning; None takes their defaults.
        poses: As in `teach`.
        memory_share: As in `teach`.

    Returns:
        The recipe, which is not written yet.

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
