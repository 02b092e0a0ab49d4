"""How far two encoders are apart, on features and on scores, on pictures that every machine draws alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from .backends import Session
from .preprocess import Array8
from .scoring import Features, Floats, Learned, Scores, score

BATCHES = (1, 5)
IMAGES = "5 seeded pictures: 3 smooth, 2 noise; batches of 1 and 5"
TEMPERATURE = 4.6052
"""Of the product that scores are compared on: the clean protocol's default."""


def apart(session: Session, images: Array8, expected: Features) -> tuple[float, float]:
    """Largest absolute difference of an open graph's features from `expected`, and of the scores they lead to.

    images: uint8 [N,S,S,3], run in batches of each size in BATCHES.
    """
    learned = parity_product(expected)
    wanted = score(expected, learned)
    feature_difference = score_difference = 0.0
    for batch in BATCHES:
        outputs = [
            np.concatenate(parts)
            for parts in zip(
                *(session.run(images[start : start + batch]) for start in range(0, len(images), batch)),
                strict=True,
            )
        ]
        seen = Features(outputs[0], outputs[1], tuple(outputs[2:]), expected.grid)
        feature_difference = largest([feature_difference, features_apart(seen, expected)])
        score_difference = largest([score_difference, scores_apart(score(seen, learned), wanted)])
    return feature_difference, score_difference


def largest(differences: Sequence[float]) -> float:
    """NaN if one is: Python's own `max` may pass over it."""
    return float(np.max(differences))


def features_apart(seen: Features, wanted: Features) -> float:
    """Largest absolute difference of any feature."""
    pairs = zip((seen.global_, seen.local, *seen.memory), (wanted.global_, wanted.local, *wanted.memory), strict=True)
    return largest([float(np.abs(one - other).max()) for one, other in pairs])


def scores_apart(seen: Scores, wanted: Scores) -> float:
    """Largest absolute difference of any score: of either branch, which fusion could hide, and fused."""

    def parts(scores: Scores) -> list[Floats]:
        return [scores.image, scores.grid, *vars(scores.branches).values()]

    return largest([float(np.abs(one - other).max()) for one, other in zip(parts(seen), parts(wanted), strict=True)])


def parity_images(size: int) -> Array8:
    """IMAGES, uint8 [5,size,size,3]."""
    rng = np.random.default_rng(0)
    smooth = [
        Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8)).resize(
            (size, size), Image.Resampling.BICUBIC
        )
        for cells in (2, 4, 8)
    ]
    noise = rng.integers(0, 256, (2, size, size, 3), np.uint8)
    return np.concatenate([np.stack([np.asarray(image) for image in smooth]), noise])


def parity_product(features: Features) -> Learned:
    """A product to score with: the memory of the first picture, random prototypes."""
    rng = np.random.default_rng(1)
    prompts = rng.standard_normal((2, 2, features.global_.shape[1])).astype(np.float32)
    prompts /= np.linalg.norm(prompts, axis=-1, keepdims=True)
    banks = tuple(memory[0] for memory in features.memory)
    return Learned(prompts[0], prompts[1], banks, temperature=TEMPERATURE, image_maximum="grid")
