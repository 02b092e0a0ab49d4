"""Products and pictures made of seeded random numbers, with the shapes of real ones: speed depends on nothing else."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import open_clip
from goodparts.runtime.core.errors import BackboneError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Features, Floats, Scales
from goodparts.runtime.core.view import View
from goodparts.runtime.engine.spec import Encoder, Tap
from goodparts.runtime.recipe.calibrate import Calibration, Level
from goodparts.runtime.recipe.header import FORMAT_VERSION, RecipeHeader, Shot, Thresholds
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.trainer.clip import embedded as demo
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.resnet_tower import DEFAULT_TAPS
from goodparts.trainer.clip.vv_tower import default_taps
from goodparts.trainer.clip.weights import RANDOM

DEMO = "demo"


def open_backbone(name: str) -> Backbone:
    """A backbone with random weights (the demo brings its own)."""
    return Backbone.open(name, pretrained=None if name == DEMO else RANDOM)


def describe_encoder(name: str) -> Encoder:
    """A backbone's encoder from its configuration alone, without building the model."""
    config = demo.CONFIG if name == DEMO else open_clip.get_model_config(name)
    if config is None or "layers" not in config["vision_cfg"]:
        raise BackboneError(
            f"{name!r} is no ViT or ResNet that open_clip {open_clip.__version__} knows: demo, or one of those"
        )
    vision = config["vision_cfg"]
    size, layers, width = vision["image_size"], vision["layers"], vision["width"]
    if isinstance(layers, int):
        side = size // vision["patch_size"]
        blocks = demo.TAPS if name == DEMO else default_taps(layers)
        taps = tuple(Tap(min(block, layers), width) for block in blocks)
    else:
        side = size // 2 ** (1 + DEFAULT_TAPS[0])
        taps = tuple(Tap(layer, width * 2 ** (1 + layer)) for layer in DEFAULT_TAPS)
    return Encoder(
        backbone=name,
        weights="0" * 64,
        image_size=size,
        grid=(side, side),
        width=config["embed_dim"],
        taps=taps,
    )


def make_recipe(encoder: Encoder, graph: str, shots: int, seed: int = 0) -> Recipe:
    """A recipe of random unit vectors that fits an encoder and a graph."""
    rng = np.random.default_rng(seed)
    rows = shots * encoder.grid[0] * encoder.grid[1]
    level = Level((0.1,) * shots, float(np.log(0.1)), 0.12)
    calibration = Calibration(source="leave-one-out", image=level, pixel=level)
    header = RecipeHeader(
        version=FORMAT_VERSION,
        product=f"part {seed}",
        method="promptad",
        protocol="clean",
        settings={},
        encoder=encoder,
        graph=graph,
        view=View(),
        temperature=100.0,
        image_maximum="grid",
        fusion="balanced",
        scales=Scales(0.4, 0.1, 0.4, 0.1),
        memory_share=1.0,
        shots=tuple(Shot(f"{index}.png", "0" * 64) for index in range(shots)),
        shot_calibration=calibration,
        calibration=calibration,
        false_reject_rate=0.01,
        thresholds=Thresholds(image=0.13, pixel=0.13),
        seed=seed,
        versions={"goodparts": version("goodparts")},
    )
    return Recipe(
        header,
        unit_vectors(rng, 2, encoder.width),
        unit_vectors(rng, 2, encoder.width),
        tuple(unit_vectors(rng, rows, tap.width).astype(np.float16) for tap in encoder.taps),
        (np.arange(rows, dtype=np.int32) // (rows // shots),) * len(encoder.taps),
        make_views(encoder, shots, seed),
    )


def make_features(encoder: Encoder, seed: int = 0) -> Features:
    """What an encoder might say about one view."""
    rng = np.random.default_rng(seed)
    patches = encoder.grid[0] * encoder.grid[1]
    return Features(
        unit_vectors(rng, 1, encoder.width),
        unit_vectors(rng, patches, encoder.width)[None],
        tuple(unit_vectors(rng, patches, tap.width)[None] for tap in encoder.taps),
        encoder.grid,
    )


def make_views(encoder: Encoder, count: int, seed: int = 0) -> Array8:
    """Noise as an encoder reads it: uint8 [count,S,S,3]."""
    size = encoder.image_size
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def unit_vectors(rng: np.random.Generator, rows: int, width: int) -> Floats:
    """l2-normalised float32 [rows,width]."""
    vectors = rng.standard_normal((rows, width)).astype(np.float32)
    normed: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normed
