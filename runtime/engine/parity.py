"""The parity gate: before a graph may be used on a backend, it is compared with torch on the same pictures.

The pictures and torch's features of them lie in the engine, so that a device without torch can compare its own plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from ..backends.session import GraphName, Precision, Session, join_outputs
from ..backends.tensors import name_outputs, to_features
from ..core.conditions import Conditions
from ..core.errors import EngineError, ParityError
from ..core.files import read_bytes, write_atomic
from ..core.preprocess import Array8
from ..core.scoring import Features, Floats, Learned, Scores, score
from .spec import Parity

REFERENCE_NAMES: dict[GraphName, str] = {"plain": "parity.safetensors", "prompted": "parity.prompted.safetensors"}
"""Graph → the file in the engine's folder that holds its pictures and features."""

TEMPERATURE = 4.6052
"""The temperature of the product that is scored. At this default, prompts and memory both count."""

_CONDITION = "condition."


@dataclass(frozen=True)
class Tolerance:
    """The differences that a precision may have.

    Attributes:
        feature: The largest allowed absolute difference of a feature from torch in fp32.
        score: The largest allowed absolute difference of a score from torch in fp32.
        auroc: The largest allowed loss of image AUROC on labelled photos.
    """

    feature: float
    score: float
    auroc: float

    def share(self, feature: float, score: float) -> float:
        """Return the larger of two differences, each as a share of its tolerance; NaN if one is NaN.

        Args:
            feature: The largest difference of a feature.
            score: The largest difference of a score.
        """
        return largest([feature / self.feature, score / self.score])


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(feature=1e-4, score=1e-5, auroc=1e-3),
    # Each number in the products has 11 bits.
    "fp16": Tolerance(feature=5e-3, score=2e-3, auroc=1e-2),
    # Each number has 8 bits. Rounding costs the worst channel of the worst patch two or three of them.
    "bf16": Tolerance(feature=4e-2, score=2e-2, auroc=1e-2),
    # 8 bits cover the whole range of a tensor's values.
    "int8": Tolerance(feature=6e-2, score=2e-2, auroc=2e-2),
}
"""Precision → the differences that it may have."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Pictures and torch's features of them.

    Attributes:
        images: The pictures, [count, size, size, 3], uint8, RGB.
        what: A description of the pictures.
        features: Torch's features of the pictures.
        conditions: The conditions of a prompted graph; None for a plain graph.
    """

    images: Array8
    what: str
    features: Features
    conditions: Conditions | None = None

    def save(self, path: Path) -> None:
        """Write a safetensors file.

        Args:
            path: The file.
        """
        features = self.features
        arrays = {
            "images": self.images,
            **name_outputs([features.global_, features.local, *features.memory]),
            "grid": np.array(features.grid, np.int64),
        }
        if self.conditions is not None:
            arrays |= {_CONDITION + name: tensor for name, tensor in self.conditions.tensors.items()}
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        write_atomic(path, safetensors.numpy.save(contiguous, metadata={"what": self.what}))

    @classmethod
    def open(cls, path: Path) -> Reference:
        """Read a file that `save` wrote.

        Args:
            path: The file.

        Returns:
            The pictures and features.

        Raises:
            EngineError: The file is damaged or has other content.
        """
        data = read_bytes(path)
        try:
            arrays = safetensors.numpy.load(data)
            with safetensors.safe_open(path, "numpy") as file:
                what = (file.metadata() or {})["what"]
            conditions = {
                name.removeprefix(_CONDITION): arrays.pop(name) for name in list(arrays) if name.startswith(_CONDITION)
            }
            images = arrays.pop("images")
            rows, columns = arrays.pop("grid").tolist()
            features = to_features(arrays, (rows, columns))
            return cls(images, what, features, Conditions(conditions) if conditions else None)
        except (safetensors.SafetensorError, KeyError, ValueError, EngineError) as error:
            raise EngineError(f"{path} is damaged ({error}): export the engine again") from error

    def differences(self, session: Session) -> tuple[float, float]:
        """Return the largest difference of an open graph from torch, on features and on scores.

        It is measured with one picture at a time and with all at once.

        Args:
            session: The open graph.
        """
        learned = parity_product(self.features)
        expected = score(self.features, learned)
        feature_differences, score_differences = [], []
        for batch in (1, len(self.images)):
            starts = range(0, len(self.images), batch)
            parts = [session.run(self.images[start : start + batch], self.conditions) for start in starts]
            features = to_features(join_outputs(parts), self.features.grid)
            feature_differences.append(features_apart(features, self.features))
            score_differences.append(scores_apart(score(features, learned), expected))
        return largest(feature_differences), largest(score_differences)

    def measure(self, session: Session, backend: str, precision: Precision) -> Parity:
        """Return the parity record of an open graph.

        Args:
            session: The open graph.
            backend: The backend's name.
            precision: The precision of the graph.

        Raises:
            ParityError: The graph differs from torch by more than the precision's tolerance.
        """
        feature_difference, score_difference = self.differences(session)
        tolerance = TOLERANCES[precision]
        if not tolerance.share(feature_difference, score_difference) <= 1:  # written so that a NaN fails
            raise ParityError(
                f"{precision} on {backend} differs from torch by {feature_difference:.1e} on features (at most "
                f"{tolerance.feature:.0e}) and {score_difference:.1e} on scores (at most {tolerance.score:.0e})"
            )
        return Parity(
            backend=backend,
            ran=session.description,
            images=self.what,
            feature_difference=feature_difference,
            feature_tolerance=tolerance.feature,
            score_difference=score_difference,
            score_tolerance=tolerance.score,
        )


def parity_product(features: Features) -> Learned:
    """Make a product to score with: its memory comes from the first picture, its prototypes are random.

    Args:
        features: Torch's features of the pictures.

    Returns:
        The product.
    """
    rng = np.random.default_rng(1)
    prompts = rng.standard_normal((2, 2, features.global_.shape[1])).astype(np.float32)
    prompts /= np.linalg.norm(prompts, axis=-1, keepdims=True)
    banks = tuple(memory[0] for memory in features.memory)
    return Learned(prompts[0], prompts[1], banks, temperature=TEMPERATURE, image_maximum="grid")


def largest(differences: Sequence[float]) -> float:
    """Return the largest difference; NaN if one is NaN. Python's own `max` may ignore a NaN.

    Args:
        differences: Absolute differences, at least one.
    """
    return float(np.max(differences))


def features_apart(features: Features, expected: Features) -> float:
    """Return the largest absolute difference of any feature.

    Args:
        features: Some features.
        expected: The features to compare them with.
    """
    return _apart(
        [features.global_, features.local, *features.memory], [expected.global_, expected.local, *expected.memory]
    )


def scores_apart(scores: Scores, expected: Scores) -> float:
    """Return the largest absolute difference of any score.

    The branches are compared too, because fusion can hide a difference.

    Args:
        scores: Some scores.
        expected: The scores to compare them with.
    """
    return _apart(
        [scores.image, scores.grid, *vars(scores.branches).values()],
        [expected.image, expected.grid, *vars(expected.branches).values()],
    )


def _apart(arrays: Sequence[Floats], expected: Sequence[Floats]) -> float:
    return largest([float(np.abs(array - other).max()) for array, other in zip(arrays, expected, strict=True)])
