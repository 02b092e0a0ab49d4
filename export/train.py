"""Learning a product with its prompts from Python, as `train-and-export` does for one product."""

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

    This is what `train-and-export` does for one product. `goodparts.teach` is faster and needs no torch, but learns no
    prompts. For example:

        recipe = goodparts.train("photos/good", "metal nut", settings={"fusion": "paper"})
        recipe.save("nut.safetensors")

    Args:
        images: A photo, a folder of photos, or several of either.
        product: The product in words, which its prompts contain.
        engine: The folder of the engine that the recipe is for; the engine is made if the folder does not exist. The
            shipped engine fits only the backbone `small`.
        backbone: The backbone of that engine; `small` if None.
        method: `promptad`, `anople` or `memory`; None for `promptad`, or for `memory` with an image-only backbone.
            `anople` adds a prompted graph to the engine, so the engine cannot be the shipped one.
        settings: Settings of the method, by name, that differ from those of its protocol. `train-and-export --help-all`
            lists them as options, with - instead of _; --photo-tiles is the setting `tiles`.
        suffixes: What can be wrong with the product: `generic`, the name of a benchmark object, or a text file with one
            defect per line; None for the method's own choice.
        view: Which part of a photo is inspected, and in how many tiles; None for the whole photo.
        shots: How many of the photos to learn from, the first by name; None for all of them, up to 64.
        options: Options of the run, such as the seed and the false-reject rate; None for their defaults.

    Returns:
        The recipe, which is not written to the disk yet. Its thresholds are calibrated on the photos themselves.

    Raises:
        SettingsError: The method is unknown, a setting is out of range, the photos are too many or two of them are the
            same, or the view does not fit a photo.
        FileError: A photo cannot be found, or the engine cannot be written.
        ImageError: A photo cannot be read.
        BackboneError: The method cannot learn with this backbone.
        EngineError: The folder holds another engine or something else, or the shipped engine would have to be changed.
        ParityError: The exported engine is too far from torch.
        BackendError: The engine is to be made, but no inference library is installed.
    """
    method = method or default_method(DEFAULT_NAME if backbone is None else backbone.encoder.backbone)
    if method not in METHODS:
        raise SettingsError(f"method {method!r} is unknown: there are {', '.join(METHODS)}")
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
