"""What an open graph is: views in, features out, on the host or on a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

from ..core.conditions import Conditions
from ..core.preprocess import Array8
from ..core.scoring import Floats

if TYPE_CHECKING:
    from .cuda import DeviceArray

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""What a graph computes in."""

WITH_BF16 = " with bf16"
"""How the description of a session ends that computes in bf16 what its int8 graph does not quantise."""


VIEWS_AT_ONCE = 8
"""In one pass on a CPU. What an encoder holds in between grows with them, and it is no faster for more."""


def in_parts(views: Array8, at_once: int, run: Callable[[Array8], list[Floats]]) -> list[Floats]:
    """An encoder's outputs for any number of views [B,S,S,3], which it is given in parts of nearly one size."""
    parts = [run(some) for some in np.array_split(views, max(1, math.ceil(len(views) / at_once)))]
    return parts[0] if len(parts) == 1 else [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


class Session(Protocol):
    """An open graph."""

    description: str
    """What really runs: library and version, device, precision."""

    def run(self, views: Array8, conditions: Conditions | None = None) -> list[Floats]:
        """uint8 [B,S,S,3] → float32 outputs in the graph's order: global, local, memory_0, memory_1 …

        conditions: what a prompted graph reads besides.
        """


@runtime_checkable
class DeviceSession(Session, Protocol):
    """An open graph whose views and features may stay on the GPU: see gpu_session.GpuSession.

    Hold `lock` from filling the input to the last use of the outputs. Everything but `wait` is enqueued on `stream`.
    """

    lock: Lock
    max_batch: int
    """The most views in one launch."""

    @property
    def stream(self) -> int:
        """A CUDA stream."""

    def input(self) -> DeviceArray:
        """Where views are read from: uint8 [max_batch,S,S,3]."""

    def fill(self, views: Array8) -> None:
        """Bring views from the host into the input."""

    def condition(self, conditions: Conditions | None) -> None:
        """Bring what a prompted graph reads besides views into its inputs, unless it is there."""

    def launch(self, batch: int) -> None:
        """Run the first `batch` views of the input."""

    def outputs(self, batch: int) -> list[DeviceArray]:
        """Where the features of the last launch are: float32, in the order of Session.run."""

    def buffer(self, name: str, shape: tuple[int, ...], element: Any) -> tuple[Any, DeviceArray]:
        """An array in page-locked host memory and one on the GPU, kept under a name for the next who asks."""

    def upload(self, host: Any, device: DeviceArray) -> None:
        """Copy an array of `buffer` to the GPU."""

    def download(self, host: Any, device: DeviceArray) -> None:
        """Copy an array of `buffer` from the GPU."""

    def wait(self) -> None:
        """Wait until all of it is done."""
