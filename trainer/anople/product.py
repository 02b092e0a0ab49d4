"""Learning a product with AnoPLe: from photos of good parts to a recipe for an engine's prompted graph."""

from __future__ import annotations

import msgspec
from goodparts.runtime.header import Shot
from goodparts.runtime.preprocess import Array8
from goodparts.runtime.recipe import Recipe
from goodparts.runtime.scoring import Learned
from goodparts.trainer.backbone import Backbone
from goodparts.trainer.product import Order, compose_recipe

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
