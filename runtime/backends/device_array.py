"""Arrays in a GPU's memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class DeviceArray:
    """A C-contiguous array in the GPU's memory. `_native.cuda`, cupy and torch can read it.

    The session that it belongs to must outlive it.

    Attributes:
        address: The address of its first element.
        shape: The length of each axis.
        typestr: The type of its elements in numpy's notation, "|u1" or "<f4".
    """

    address: int
    shape: tuple[int, ...]
    typestr: str

    def first(self, count: int) -> DeviceArray:
        """Return the first sub-arrays along the first axis.

        Args:
            count: The number of sub-arrays.
        """
        return replace(self, shape=(count, *self.shape[1:]))

    def part(self, start: int, count: int) -> DeviceArray:
        """Return consecutive sub-arrays along the first axis.

        Args:
            start: The index of the first sub-array.
            count: The number of sub-arrays.
        """
        return replace(self.first(count), address=self.address + start * self[0].nbytes)

    def __getitem__(self, index: int) -> DeviceArray:
        """Return one of the sub-arrays along the first axis."""
        one = replace(self, shape=self.shape[1:])
        return replace(one, address=self.address + index * one.nbytes)

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return math.prod(self.shape) * int(self.typestr[2:])

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "data": (self.address, False), "shape": self.shape, "typestr": self.typestr}
