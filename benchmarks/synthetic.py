"""Frames, views, features and recipes of seeded random numbers, with the shapes of real data.

Speed depends only on the shapes. This module does not need torch.
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Features, Floats
from goodparts.runtime.core.view import View
from goodparts.runtime.engine.spec import Encoder
from goodparts.runtime.recipe.calibrate import Calibration, Level
from goodparts.runtime.recipe.header import FORMAT_VERSION, RecipeHeader, Shot, Thresholds
from goodparts.runtime.recipe.recipe import Recipe

FRAME_SIZE = 1024, 1280
"""Height and width of a camera's frame."""


def make_frame(size: tuple[int, int] = FRAME_SIZE) -> Array8:
    """Return a frame of noise, uint8 RGB [height,width,3].

    Args:
        size: The height and the width in pixels.
    """
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


def make_recipe(encoder: Encoder, graph: str, shots: int, seed: int = 0) -> Recipe:
    """Make a recipe of random unit vectors.

    Args:
        encoder: The encoder that the recipe fits, which gives all shapes.
        graph: The id of the graph that the recipe is valid for.
        shots: The number of photos in its memory, 1 or more.
        seed: The seed of the vectors and of the photos. It is also part of the product's name.

    Returns:
        The recipe, with the residual fusion and a threshold of 0.13 at both levels.
    """
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
        fusion="residual",
        residual_weight=1.0,
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
        (rng.uniform(-0.5, 0.5, rows).astype(np.float32),) * len(encoder.taps),
        make_views(encoder, shots, seed),
    )


def make_features(encoder: Encoder, seed: int = 0) -> Features:
    """Return features of one view that are random unit vectors.

    Args:
        encoder: The encoder, which gives the grid and the widths.
        seed: The seed of the vectors.
    """
    rng = np.random.default_rng(seed)
    patches = encoder.grid[0] * encoder.grid[1]
    return Features(
        unit_vectors(rng, 1, encoder.width),
        unit_vectors(rng, patches, encoder.width)[None],
        tuple(unit_vectors(rng, patches, tap.width)[None] for tap in encoder.taps),
        encoder.grid,
    )


def make_views(encoder: Encoder, count: int, seed: int = 0) -> Array8:
    """Return views of noise, uint8 RGB [count,S,S,3], where S is the encoder's image size.

    Args:
        encoder: The encoder, which gives S.
        count: The number of views.
        seed: The seed of the noise.
    """
    size = encoder.image_size
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def unit_vectors(rng: np.random.Generator, rows: int, width: int) -> Floats:
    """Draw vectors of length 1.

    Args:
        rng: The source of random numbers.
        rows: The number of vectors.
        width: The number of components of each.

    Returns:
        The vectors, float32 [rows,width].
    """
    vectors = rng.standard_normal((rows, width)).astype(np.float32)
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
