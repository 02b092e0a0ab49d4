"""Keys of measurements: digests of everything that determines one."""

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


class MeasurementKey(msgspec.Struct, frozen=True):
    """Everything that determines a measurement.

    data is the digest of the category's files (Split.digest), and of all categories' where the method learns from them.
    graph is the digest of the graph that encodes, or of torch's weights. encoder is the backbone, through which prompts
    are learned, with its taps. backend is the name of what encodes. code is the digest of goodparts and of what it
    computes with. official is the digest of the listed shots where the released evaluation is reproduced.
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
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class CategoryKeys:
    """Makes the keys of a category's measurements."""

    def __init__(self, plan: EvaluationPlan, split: Split) -> None:
        self._plan = plan
        self._digest = split.digest()

    def key(self, backend: MeasuredBackend, method: str, shots: ChosenShots | None, seed: int) -> str:
        """Return the key of a method's measurement; shots is None where it learns from no photos."""
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
    """Return a digest of the files of all categories."""
    digests = [data.split(category).digest() for category in data.categories]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


@functools.cache
def code_digest() -> str:
    """Return a digest of goodparts' source, of its C++ core as built, and of the versions of numerical libraries."""
    root = Path(__file__).resolve().parents[1]
    lines = [f"{name} {version(name)}" for name in LIBRARIES]
    for folder in ("runtime", "trainer", "drawn", "evaluation"):
        for path in sorted((root / folder).rglob("*.py")):
            lines.append(f"{path.relative_to(root).as_posix()} {sha256(path)}")
    core = native.core()
    lines.append(f"core {core and sha256(Path(str(core.__file__)))}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
