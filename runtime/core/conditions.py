"""Conditions: the inputs of the engine's prompted graph that a product adds to every frame."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from .scoring import Floats


@dataclass(frozen=True, eq=False)
class Conditions:
    """Learned tensors, the same for every view of a batch.

    Two Conditions are equal if their tensors have equal names, shapes and bytes.

    Attributes:
        tensors: Name of the graph's input → tensor, float32.
    """

    tensors: Mapping[str, Floats]

    @functools.cached_property
    def _key(self) -> bytes:
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tensor.shape}".encode())
            digest.update(tensor.tobytes())
        return digest.digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Conditions) and (self is other or self._key == other._key)

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor, by name."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}
