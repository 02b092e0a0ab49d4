"""Learning a product without torch: prompts of an engine's own text features, and the memory of a few photos.

    engine = Engine.open(folder)
    recipe = teach(engine, read_text_features(folder, engine.spec), Product("metal nut", (), view, shots))

The prompts are those of a generic part, the same for every product. All that is learned of a product is its memory and
what its own shots score; `train-and-export --refine` learns prompts of its own from the same shots.
"""

from __future__ import annotations

from ..core.scoring import RESIDUAL_WEIGHT, Fusion, Learned
from ..engine.engine import Engine
from ..engine.parity import TEMPERATURE
from ..engine.text import TextFeatures
from .product import LearnedProduct, LearningOptions, Product, compose_recipe
from .recipe import Recipe

METHOD = "taught"
"""The method's name in a recipe."""


def teach(
    engine: Engine,
    text: TextFeatures,
    product: Product,
    options: LearningOptions | None = None,
    *,
    fusion: Fusion = "residual",
) -> Recipe:
    """Learn a product from its shots and return its recipe, for the graph that is open.

    Args:
        engine: The engine that encodes the shots.
        text: The text features of the same engine.
        product: The product; it has views of the encoder's side, and its suffixes are not used.
        options: The options of learning; their defaults where None.
        fusion: How the scores of prompts and memory are combined.

    Raises:
        BackendError: The inference library fails.
    """
    features = engine.encode(product.shots.views[engine.encoder.image_size])
    prototypes = text.prototypes()
    learned = LearnedProduct(
        product=product,
        method=METHOD,
        settings={"part": text.part, "suffixes": list(text.suffixes), "fusion": fusion},
        prompts=Learned(
            prototypes,
            prototypes,
            (),
            TEMPERATURE,
            "grid",
            fusion=fusion,
            residual_weight=RESIDUAL_WEIGHT * text.scale,
        ),
        features=features,
        encode=engine.encode,
    )
    return compose_recipe(engine.encoder, learned, engine.graph_id(), options or LearningOptions())
