"""The parity gate: a graph on a backend against what torch said of the same pictures, before anyone may use it.

The pictures and torch's features travel with the engine, so that a device without torch can hold its own plans
against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from ..backends.session import Precision, Session
from ..core.conditions import Conditions
from ..core.errors import EngineError, ParityError
from ..core.files import read_bytes, write_atomic
from ..core.preprocess import Array8
from ..core.scoring import Features, Floats, Learned, Scores, score
from .spec import Parity

REFERENCE_NAME = "parity.safetensors"
PROMPTED_REFERENCE_NAME = "parity.prompted.safetensors"
_CONDITION = "condition."
TEMPERATURE = 4.6052
"""Of the product that is scored: the default, at which prompt and memory are both heard."""


@dataclass(frozen=True)
class Tolerance:
    """Largest allowed absolute difference from torch in fp32; auroc: most that may be lost on labelled photos."""

    feature: float
    score: float
    auroc: float

    def used(self, feature: float, score: float) -> float:
        """Differences as a share of what is allowed, the larger of the two; NaN if one is."""
        return largest([feature / self.feature, score / self.score])


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(feature=1e-4, score=1e-5, auroc=1e-3),
    # 11 bits of each number in the products.
    "fp16": Tolerance(feature=5e-3, score=2e-3, auroc=1e-2),
    # 8 bits, of which the worst channel of the worst patch loses two or three on the way.
    "bf16": Tolerance(feature=4e-2, score=2e-2, auroc=1e-2),
    # 8 bits for the whole range of a tensor's values.
    "int8": Tolerance(feature=6e-2, score=2e-2, auroc=2e-2),
}


@dataclass(frozen=True, eq=False)
class Reference:
    """uint8 pictures [N,S,S,3], what they are, torch's features of them, and the conditions of a prompted graph."""

    images: Array8
    what: str
    features: Features
    conditions: Conditions | None = None

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        arrays = {"images": self.images, "global": self.features.global_, "local": self.features.local}
        arrays |= {f"memory_{index}": memory for index, memory in enumerate(self.features.memory)}
        arrays["grid"] = np.array(self.features.grid, np.int64)
        if self.conditions is not None:
            arrays |= {_CONDITION + name: tensor for name, tensor in self.conditions.tensors.items()}
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        write_atomic(path, safetensors.numpy.save(contiguous, metadata={"what": self.what}))

    @classmethod
    def open(cls, path: Path) -> Reference:
        """Read what `save` wrote; EngineError for anything else."""
        data = read_bytes(path)
        try:
            arrays = safetensors.numpy.load(data)
            with safetensors.safe_open(path, "numpy") as file:
                what = (file.metadata() or {})["what"]
            names = sorted(name for name in arrays if name.startswith("memory_"))
            rows, columns = arrays["grid"].tolist()
            memory = tuple(arrays[name] for name in names)
            features = Features(arrays["global"], arrays["local"], memory, (rows, columns))
            tensors = {
                name.removeprefix(_CONDITION): array for name, array in arrays.items() if name.startswith(_CONDITION)
            }
            return cls(arrays["images"], what, features, Conditions(tensors) if tensors else None)
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise EngineError(f"{path} is damaged ({error}): export the engine again") from error

    def differences(self, session: Session) -> tuple[float, float]:
        """How far an open graph is from torch at most, one picture at a time and all at once: features, scores."""
        learned = parity_product(self.features)
        wanted = score(self.features, learned)
        features, scores = [], []
        for batch in (1, len(self.images)):
            starts = range(0, len(self.images), batch)
            parts = [session.run(self.images[start : start + batch], self.conditions) for start in starts]
            outputs = [np.concatenate(some) for some in zip(*parts, strict=True)]
            seen = Features(outputs[0], outputs[1], tuple(outputs[2:]), self.features.grid)
            features.append(features_apart(seen, self.features))
            scores.append(scores_apart(score(seen, learned), wanted))
        return largest(features), largest(scores)

    def measure(self, session: Session, backend: str, precision: Precision) -> Parity:
        """The record of an open graph; ParityError where it is outside the precision's tolerance."""
        feature_difference, score_difference = self.differences(session)
        tolerance = TOLERANCES[precision]
        # Written so that a NaN fails.
        if not tolerance.used(feature_difference, score_difference) <= 1:
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
    """A product to score with: the memory of the first picture, random prototypes."""
    rng = np.random.default_rng(1)
    prompts = rng.standard_normal((2, 2, features.global_.shape[1])).astype(np.float32)
    prompts /= np.linalg.norm(prompts, axis=-1, keepdims=True)
    banks = tuple(memory[0] for memory in features.memory)
    return Learned(prompts[0], prompts[1], banks, temperature=TEMPERATURE, image_maximum="grid")


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
