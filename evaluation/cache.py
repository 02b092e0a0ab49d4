"""Finished measurements, each a file named by the digest of everything that determines it.

Whoever measures looks here first: a run that was interrupted, or one that overlaps another, goes on where that ended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from goodparts.runtime.core import native
from goodparts.runtime.core.errors import FileError
from goodparts.runtime.core.files import read_bytes, sha256, write_atomic
from goodparts.runtime.core.scoring import Floats
from goodparts.runtime.engine.spec import Encoder
from goodparts.runtime.recipe.header import Shot

from .metrics.image import Flags

MISTAKES = 12
"""Of a cell, so many are kept."""


class Cell(msgspec.Struct, frozen=True):
    """One measurement. shots: 0 where nothing was learned from photos; values: metrics by name, NaN where `missing`
    says why; threshold: image score from which the method rejects; manifest: SHA-256 of the shots' list; difference:
    of torch, the largest of an image score from the deployed one's."""

    category: str
    method: str
    shots: int
    seed: int
    backend: str
    values: dict[str, float]
    missing: dict[str, str]
    threshold: float | None
    manifest: str
    difference: float | None = None


class Manifest(msgspec.Struct, frozen=True):
    """The photos that were learned from."""

    category: str
    shots: int
    seed: int
    sha256: str
    photos: tuple[Shot, ...]


class Key(msgspec.Struct, frozen=True):
    """Everything that determines a cell. data: digest of the category's files (Split.digest), and of all categories'
    where the method learns from them; graph: of the graph that encodes, or of the weights where it is torch; encoder:
    the backbone, which prompts are learned through, with its taps; backend: what encodes; code: of goodparts and what
    it computes with; official: digest of the listed shots where the released evaluation is reproduced."""

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


class Wrong(msgspec.Struct, frozen=True):
    """A photo on the wrong side. number: its place in the split's test; size: the share of the other kind that it is
    wrong beside, above 0 and up to 1; grid: float32 [h,w], its patch scores, as bytes."""

    number: int
    score: float
    size: float
    grid: bytes
    shape: tuple[int, int]


class Finished(msgspec.Struct, frozen=True):
    """The content of a cell's file. left_out: why there is no cell; scores: float32 [N], the image scores of the tests,
    as bytes; bad: which of them are; worst: its mistakes, the worst first."""

    cell: Cell | None
    left_out: str = ""
    scores: bytes = b""
    bad: tuple[bool, ...] = ()
    worst: tuple[Wrong, ...] = ()

    @property
    def image(self) -> Floats:
        """The image scores, [N]."""
        return np.frombuffer(self.scores, np.float32)


class Cells:
    """The files of finished cells in a folder, which several processes may write to at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.cell"

    def __contains__(self, digest: str) -> bool:
        return self._path(digest).is_file()

    def read(self, digest: str) -> Finished:
        """FileError for a file that holds something else."""
        path = self._path(digest)
        try:
            return msgspec.msgpack.decode(read_bytes(path), type=Finished)
        except msgspec.MsgspecError as error:
            raise FileError(f"{path} is damaged ({error}): remove it and run again") from error

    def write(self, digest: str, finished: Finished) -> None:
        """FileError when the disk is full."""
        write_atomic(self._path(digest), msgspec.msgpack.encode(finished))


def find_worst(bad: Flags, scores: Floats, grids: Floats, numbers: Sequence[int]) -> tuple[Wrong, ...]:
    """The worst of the tests: bad [N], image scores [N], patch scores [N,h,w], and their places in the split's test."""
    sizes = mistake_sizes(bad, scores)
    order = np.argsort(-sizes, kind="stable")[:MISTAKES]
    return tuple(
        Wrong(numbers[at], float(scores[at]), float(sizes[at]), grids[at].astype(np.float32).tobytes(), grids.shape[1:])
        for at in order.tolist()
        if sizes[at] > 0
    )


def mistake_sizes(bad: Flags, scores: Floats) -> Floats:
    """How wrong each of the tests [N] is: for a good one the share of bad ones that score no higher, for a bad one the
    share of good ones that score no lower; 0 where there is nothing of the other kind."""
    sizes = np.zeros(len(scores), np.float32)
    for kind, above in ((True, np.less_equal), (False, np.greater_equal)):
        others = scores[bad == kind]
        if len(others):
            mine = bad != kind
            sizes[mine] = above(others[None, :], scores[mine][:, None]).mean(axis=1)
    return sizes


LIBRARIES = ("goodparts", "numpy", "open_clip_torch", "pillow", "scipy", "timm", "torch")


@cache
def code_digest() -> str:
    """Of this version's source and of its C++ core as it was built, and the versions of the libraries that its numbers
    come from."""
    root = Path(__file__).resolve().parents[1]
    lines = [f"{name} {version(name)}" for name in LIBRARIES]
    for folder in ("runtime", "trainer", "drawn", "evaluation"):
        for path in sorted((root / folder).rglob("*.py")):
            lines.append(f"{path.relative_to(root).as_posix()} {sha256(path)}")
    core = native.core()
    lines.append(f"core {core and sha256(Path(str(core.__file__)))}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
