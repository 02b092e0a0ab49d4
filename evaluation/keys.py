"""Keys of measurements. A key is a digest of everything that determines the measurement."""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import version
from pathlib import Path

import msgspec
from goodparts.runtime.core import native
from goodparts.runtime.core.files import sha256
from goodparts.runtime.engine.spec import Encoder

from .datasets import ChosenShots, DataSet, Split
from .methods.table import find_method
from .plan import EvaluationPlan, MeasuredBackend

LIBRARIES = ("goodparts", "numpy", "open_clip_torch", "pillow", "scipy", "timm", "torch")
"""The packages whose versions are part of every key."""


class MeasurementKey(msgspec.Struct, frozen=True):
    """Everything that determines a measurement.

    Attributes:
        data: The digest of the category's files (Split.digest). If the method learns from all categories, the digest of
            all their files is added.
        graph: The digest of the graph that encodes, or of torch's weights.
        encoder: The backbone, through which prompts are learned, with its taps.
        backend: The name of the backend that encodes.
        precision: The precision of the graph.
        method: The method's name, with its settings.
        shots: The number of photos that the method learns from; 0 for none.
        seed: The seed of the draw of shots, and of learning.
        oracle: Whether the learning step that is best on the test data is measured too.
        code: The digest of goodparts and of the libraries that it computes with.
        official: The digest of the listed shots if PromptAD's released evaluation is reproduced, otherwise empty.
    """

    data: str
    graph: str
    encoder: Encoder
    backend: str
    precision: str
    method: str
    shots: int
    seed: int
    oracle: bool
    code: str
    official: str = ""

    @property
    def digest(self) -> str:
        """The SHA-256 of all fields, which names the measurement's file."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class CategoryKeys:
    """Makes the keys of a category's measurements.

    Args:
        plan: The plan of the evaluation.
        split: The category.
    """

    def __init__(self, plan: EvaluationPlan, split: Split) -> None:
        self._plan = plan
        self._digest = split.digest()

    def key(self, backend: MeasuredBackend, method: str, shots: ChosenShots | None, seed: int) -> str:
        """Return the key of a method's measurement.

        Args:
            backend: The backend that encodes.
            method: The method's name, with its settings.
            shots: The photos to learn from; None if the method learns from no photos.
            seed: The seed of the draw of shots, and of learning.
        """
        row = find_method(method)
        prompted = backend.prompted if row.conditions else None
        return MeasurementKey(
            data=f"{self._digest} of {self._digest_of_all}" if row.together else self._digest,
            graph=(prompted or backend).graph_id,
            encoder=self._plan.encoder,
            backend=backend.name,
            precision=backend.precision,
            method=method,
            shots=len(shots.paths) if shots else 0,
            seed=seed,
            oracle=self._plan.oracle,
            code=code_digest(),
            official=shots.digest if shots and self._plan.official else "",
        ).digest

    @functools.cached_property
    def _digest_of_all(self) -> str:
        return digest_categories(self._plan.data)


def digest_categories(data: DataSet) -> str:
    """Return a digest of the files of all categories.

    Args:
        data: The data set.
    """
    digests = [data.split(category).digest() for category in data.categories]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


@functools.cache
def code_digest() -> str:
    """Return a digest of goodparts' source, of its compiled C++ core, and of the versions of numerical libraries."""
    root = Path(__file__).resolve().parents[1]
    lines = [f"{name} {version(name)}" for name in LIBRARIES]
    for folder in ("runtime", "trainer", "drawn", "evaluation"):
        for path in sorted((root / folder).rglob("*.py")):
            lines.append(f"{path.relative_to(root).as_posix()} {sha256(path)}")
    core = native.core()
    lines.append(f"core {core and sha256(Path(str(core.__file__)))}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
