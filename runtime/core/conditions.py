"""Conditions: what a product adds to every frame as inputs of the engine's prompted graph."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from .scoring import Floats


@dataclass(frozen=True, eq=False)
class Conditions:
    """Learned tensors by name, float32, the same for every view of a batch. Equal where every byte is."""

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
        """Name → shape."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}
