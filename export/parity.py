"""The parity gate: an exported graph against torch, on features and on scores, before anyone may use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from goodparts.runtime.backends import Session
from goodparts.runtime.engine import Parity, Precision
from goodparts.runtime.errors import ParityError
from goodparts.runtime.preprocess import Array8
from goodparts.runtime.scoring import Features, Floats, Learned, Scores, score
from goodparts.trainer.backbone import Backbone
from goodparts.trainer.promptad import CLEAN_TEMPERATURE
from PIL import Image

BATCHES = (1, 5)
IMAGES = "5 seeded pictures: 3 smooth, 2 noise; batches of 1 and 5"


@dataclass(frozen=True)
class Tolerance:
    """Largest allowed absolute difference from torch in fp32."""

    feature: float
    score: float


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(feature=1e-4, score=1e-5),
    # bf16 keeps 8 bits of each number: features are off by a few thousandths.
    "bf16": Tolerance(feature=1e-2, score=1e-2),
}


def measure(backbone: Backbone, session: Session, backend: str, precision: Precision) -> Parity:
    """Compare an open graph with torch. ParityError when either difference is outside the tolerance."""
    images = parity_images(backbone.encoder.image_size)
    expected = backbone.encode(images)
    learned = parity_product(expected, backbone.encoder.width)
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
        seen = Features(outputs[0], outputs[1], tuple(outputs[2:]), backbone.encoder.grid)
        feature_difference = largest([feature_difference, features_apart(seen, expected)])
        score_difference = largest([score_difference, scores_apart(score(seen, learned), wanted)])
    tolerance = TOLERANCES[precision]
    # Written so that a NaN fails.
    if not (feature_difference <= tolerance.feature and score_difference <= tolerance.score):
        raise ParityError(
            f"{precision} on {backend} differs from torch by {feature_difference:.1e} on features "
            f"(at most {tolerance.feature:.0e}) and {score_difference:.1e} on scores (at most {tolerance.score:.0e}): "
            "nothing was exported"
        )
    return Parity(
        backend=backend,
        ran=session.description,
        images=IMAGES,
        feature_difference=feature_difference,
        feature_tolerance=tolerance.feature,
        score_difference=score_difference,
        score_tolerance=tolerance.score,
    )


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


def parity_product(features: Features, width: int) -> Learned:
    """A product to score with: the memory of the first picture, random prototypes, the default temperature."""
    rng = np.random.default_rng(1)
    prompts = rng.standard_normal((2, 2, width)).astype(np.float32)
    prompts /= np.linalg.norm(prompts, axis=-1, keepdims=True)
    banks = tuple(memory[0] for memory in features.memory)
    return Learned(prompts[0], prompts[1], banks, temperature=CLEAN_TEMPERATURE, image_maximum="grid")
