"""The parity gate: an exported graph against torch, on features and on scores, before anyone may use it."""

from __future__ import annotations

from dataclasses import dataclass

from goodparts.runtime.backends import Session
from goodparts.runtime.engine import Parity, Precision
from goodparts.runtime.errors import ParityError
from goodparts.runtime.parity import IMAGES, apart, parity_images
from goodparts.trainer.backbone import Backbone


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
    feature_difference, score_difference = apart(session, images, backbone.encode(images))
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
