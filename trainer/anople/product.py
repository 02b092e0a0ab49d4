"""Learning a product with AnoPLe: from photos of good parts to a recipe for an engine's prompted graph."""

from __future__ import annotations

import msgspec
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Learned
from goodparts.runtime.recipe.header import Shot
from goodparts.runtime.recipe.recipe import Recipe

from ..clip.backbone import Backbone
from ..product import Order, compose_recipe
from .encoder import conditions_of
from .learner import AnoPLeLearner


def compose(
    backbone: Backbone, order: Order, learner: AnoPLeLearner, shots: list[Shot], views: Array8, graph: str, at: int = 0
) -> Recipe:
    """The recipe of a learner's product number `at`, once it has learned; graph: id of the prompted graph."""
    chosen, prototypes = learner.settings, learner.prototypes()[at]
    learned = Learned(prototypes, prototypes, (), chosen.temperature, chosen.image_maximum)
    features = learner.encode(views)
    return compose_recipe(
        backbone, order, shots, views, graph, learned, features, learner.encode,
        method="anople", settings=msgspec.structs.asdict(chosen), fusion=chosen.fusion,
        conditions=conditions_of(learner.model),
    )  # fmt: skip
