"""Learning a product with its prompts, from Python: what `train-and-export` does for one product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.view import View
from goodparts.runtime.engine.shipped import SHIPPED
from goodparts.runtime.recipe.product import Product, one_line
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.runtime.recipe.shots import choose_shots, load_shots
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.names import DEFAULT_NAME
from goodparts.trainer.method import learn_recipe
from goodparts.trainer.registry import METHODS, default_method
from goodparts.trainer.settings import RunOptions

from .engines import find_engine, make_engine
from .prompted import add_prompted


def train(
    images: str | Path | Sequence[str | Path],
    product: str,
    *,
    engine: str | Path = SHIPPED,
    backbone: Backbone | None = None,
    method: str | None = None,
    settings: Mapping[str, Any] | None = None,
    suffixes: str | None = None,
    view: View | None = None,
    shots: int | None = None,
    options: RunOptions | None = None,
) -> Recipe:
    """Learn a product and its prompts from a few photos of good parts; the extra `train` is needed.

    Args:
        images: A photo, a folder of photos, or several of either.
        product: The product in words, which its prompts are made of.
        engine: The folder of the engine that the recipe is for, made where there is none.
        backbone: The backbone of that engine; `small`, which the shipped engine is of, where None.
        method: `promptad`, `anople` or `memory`; None for `promptad`, or `memory` with an image-only backbone. For
            `anople` the engine gets a prompted graph, so it is not the shipped one.
        settings: Settings of the method that differ from those of its protocol.
        suffixes: What can be wrong with the product: `generic`, a benchmark object or a text file; None for the
            method's own choice.
        view: Which part of a photo is looked at, and in how many tiles; the whole of it where None.
        shots: How many of the photos are learned from, the first by name; all of them where None, up to 64.
        options: The options of the run; their defaults where None.

    Returns:
        The recipe, which is not written yet; its thresholds rest on the photos themselves.

    Raises:
        SettingsError: There is no such method, a setting is out of range, two photos are the same, or the view does not
            fit a photo.
        FileError, ImageError: A photo cannot be found or read.
        EngineError: Another engine is in the way, or the shipped one would have to be changed.
        ParityError: The export of the engine is too far from torch.
    """
    method = method or default_method(DEFAULT_NAME if backbone is None else backbone.encoder.backbone)
    if method not in METHODS:
        raise SettingsError(f"method {method!r}: there are {', '.join(METHODS)}")
    options = options or RunOptions()
    learner = METHODS[method].configure(options.protocol, settings or {})
    text, templates = learner.word(one_line(product), suffixes, options.protocol)
    places = [images] if isinstance(images, (str, Path)) else images
    photos = choose_shots([Path(place) for place in places], shots)
    backbone, view, folder = backbone or Backbone.open(DEFAULT_NAME), view or View(), Path(engine)
    encoder = learner.prompted_encoder(backbone)
    loaded = load_shots(photos, view, learner.shot_sides(backbone.encoder.image_size))
    spec = find_engine(backbone, folder) or make_engine(backbone, folder)
    if encoder is None:
        graph = spec.graph_id("plain", "fp32")
    else:
        graph = add_prompted(folder, backbone, encoder).graph_id("prompted", "fp32")
    return learn_recipe(learner, backbone, Product(text, templates, view, loaded), graph, options)
