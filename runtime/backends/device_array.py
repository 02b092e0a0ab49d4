"""Arrays in a GPU's memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class DeviceArray:
    """A C-contiguous array in the GPU's memory, as `_native.cuda`, cupy and torch take it.

    The session that it belongs to must outlive it.

    typestr: the type of its elements as numpy writes it, "|u1" or "<f4".
    """

    address: int
    shape: tuple[int, ...]
    typestr: str

    def first(self, count: int) -> DeviceArray:
        """Return the first `count` arrays along the first axis."""
        return replace(self, shape=(count, *self.shape[1:]))

    def __getitem__(self, index: int) -> DeviceArray:
        """Return one of the arrays along the first axis."""
        inner = self.shape[1:]
        size = math.prod(inner) * int(self.typestr[2:])
        return replace(self, address=self.address + index * size, shape=inner)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "data": (self.address, False), "shape": self.shape, "typestr": self.typestr}
